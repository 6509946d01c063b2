import assert from "node:assert/strict";
import test from "node:test";
import { deflateSync } from "node:zlib";
import { column, pieceOf } from "../src/probe/probedata";
import { fileName } from "../src/probe/exports";
import { decodeFilm } from "../src/probe/film";
import { GifWriter } from "../src/probe/gif";
import { segments } from "../src/probe/OverTime";
import { Palette } from "../src/probe/palette";
import { crc32, npyHeader, npz, textArray } from "../src/probe/zip";
import type { Timeline } from "../src/data/types";

const line = (probes: Timeline["probes"], steps: number[]): Timeline => ({ steps, scalars: {}, probes }) as Timeline;

test("a film answer becomes frames, with channels where asked for and null where a map is not stored", async () => {
  const chunks = [Int8Array.of(127, -127, 0, 1), Int8Array.of(1, 2, 3, 4)].map((data) => deflateSync(data));
  const [a, b] = chunks.map((chunk) => chunk.length) as [number, number];
  const header = {
    map_shape: [2, 2],
    frames: [
      { step: 3, encoding: "sqrt8", scale: 2, map: [0, a], channel_maps: [[a, b]], channel_scale: [0.5] },
      { step: 7, encoding: "sqrt8", scale: null, map: null },
    ],
  };
  const text = new TextEncoder().encode(JSON.stringify(header));
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, text.length, true);
  const buffer = Uint8Array.from([...length, ...text, ...chunks[0]!, ...chunks[1]!]).buffer;
  const frames = await decodeFilm(buffer);
  assert.deepEqual(frames.map((frame) => frame.step), [3, 7]);
  assert.deepEqual([...frames[0]!.map!.data], [127, -127, 0, 1]);
  assert.equal(frames[0]!.map!.absmax, 2);
  assert.deepEqual([frames[0]!.channels.length, frames[0]!.channels[0]!.absmax], [1, 0.5]);
  assert.equal(frames[1]!.map, null);
  const flat = await decodeFilm(buffer, true);
  assert.deepEqual([flat[0]!.map!.height, flat[0]!.map!.width], [1, 4]);
});

test("a step lies in one piece of its run's steps, whatever other runs logged", () => {
  const steps = Array.from({ length: 60 }, (_, i) => 2 * i);
  assert.deepEqual(pieceOf(steps, 0), { steps: steps.slice(0, 24), at: 0 });
  assert.deepEqual(pieceOf(steps, 98), { steps: steps.slice(48), at: 1 });
  assert.equal(pieceOf(steps, 99), null);
  assert.equal(pieceOf([], 0), null);
});

test("columns of one probe, and runs of the same prediction", () => {
  const timeline = line({ prediction: [[1], [1], [null], [2], [2], [1]], gone: [[], [3]] }, [0, 1, 2, 4, 8, 16]);
  assert.deepEqual(column(timeline, "gone"), [null, 3]);
  assert.deepEqual(column(timeline, "none"), []);
  assert.equal(column(timeline, "prediction"), column(timeline, "prediction"));
  assert.deepEqual(segments(timeline), [
    { from: 0, to: 2, value: 1 },
    { from: 2, to: 4, value: null }, // no prediction: the class before it does not go on
    { from: 4, to: 16, value: 2 },
    { from: 16, to: 16, value: 1 },
  ]);
  const partly = line({ prediction: [[], [1], [], [1], [2]] }, [0, 1, 2, 3, 4]); // not logged at steps 0 and 2
  assert.deepEqual(segments(partly), [
    { from: 1, to: 4, value: 1 },
    { from: 4, to: 4, value: 2 },
  ]);
});

/** Reads a GIF as its specification says: the frames as palette indices. */
function readGif(bytes: Uint8Array): { width: number; height: number; delays: number[]; frames: number[][] } {
  const short = (at: number): number => bytes[at]! | (bytes[at + 1]! << 8);
  assert.equal(String.fromCharCode(...bytes.slice(0, 6)), "GIF89a");
  const [width, height] = [short(6), short(8)];
  let at = 13 + 768;
  const frames: number[][] = [];
  const delays: number[] = [];
  for (;;) {
    const kind = bytes[at++];
    if (kind === 0x3b) break;
    if (kind === 0x21) {
      if (bytes[at] === 0xf9) delays.push(short(at + 3));
      for (at += 1; bytes[at] !== 0; at += bytes[at]! + 1);
      at++;
      continue;
    }
    assert.equal(kind, 0x2c);
    assert.deepEqual([short(at + 4), short(at + 6)], [width, height]);
    at += 9;
    assert.equal(bytes[at++], 8);
    const data: number[] = [];
    for (; bytes[at] !== 0; at += bytes[at]! + 1) data.push(...bytes.slice(at + 1, at + 1 + bytes[at]!));
    at++;
    frames.push(inflateLzw(data));
  }
  assert.equal(at, bytes.length);
  return { width, height, delays, frames };
}

function inflateLzw(data: number[]): number[] {
  const out: number[] = [];
  let words: number[][] = [];
  let size = 9;
  let before: number[] | null = null;
  let bit = 0;
  for (;;) {
    let code = 0;
    for (let i = 0; i < size; i++, bit++) code |= ((data[bit >> 3]! >> (bit & 7)) & 1) << i;
    if (code === 257) return out;
    if (code === 256) {
      words = Array.from({ length: 258 }, (_, i) => [i]);
      size = 9;
      before = null;
      continue;
    }
    const word: number[] = code < words.length ? words[code]! : [...before!, before![0]!];
    out.push(...word);
    if (before && words.length < 4096) words.push([...before, word[0]!]);
    if (words.length === 1 << size && size < 12) size++;
    before = word;
  }
}

test("a GIF reads back as the frames that went in, past every change of code width and the full table", () => {
  const noise = (seed: number, n: number): Uint8Array => {
    let state = seed;
    return Uint8Array.from({ length: n }, () => ((state = (1103515245 * state + 12345) & 0x7fffffff) >> 16) & 255);
  };
  for (const [width, height] of [[1, 1], [2, 1], [300, 200], [17, 15]] as const) {
    const inputs = [noise(1, width * height), new Uint8Array(width * height), noise(7, width * height).map((v) => v & 3)];
    const writer = new GifWriter(width, height, new Uint8Array(768));
    inputs.forEach((input, i) => writer.frame(input, 100 * (i + 1)));
    const found = readGif(writer.finish());
    assert.deepEqual([found.width, found.height, found.delays], [width, height, [10, 20, 30]]);
    inputs.forEach((input, i) => assert.deepEqual(found.frames[i], [...input]));
  }
  // lengths at which the last code just fills a width
  for (let n = 250; n < 262; n++) {
    const input = Uint8Array.from({ length: n }, (_, i) => i & 255);
    const writer = new GifWriter(n, 1, new Uint8Array(768));
    writer.frame(input, 50);
    assert.deepEqual(readGif(writer.finish()).frames[0], [...input]);
  }
  assert.throws(() => new GifWriter(2, 2, new Uint8Array(768)).frame(new Uint8Array(3), 1), /3 pixels/);
});

const word = (r: number, g: number, b: number): number => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;

test("up to 256 colours stay what they are, more are near to what they were", () => {
  const few = Uint32Array.from({ length: 200 }, (_, i) => word((i * 8) & 255, (i >> 5) * 32, 128));
  const palette = new Palette();
  palette.count(few);
  palette.choose();
  const rgb = (indices: Uint8Array, i: number): number[] => [...palette.colours.slice(3 * indices[i]!, 3 * indices[i]! + 3)];
  const places = palette.indices(few);
  few.forEach((value, i) => assert.deepEqual(rgb(places, i), [value & 255, (value >> 8) & 255, (value >> 16) & 255]));

  const many = Uint32Array.from({ length: 65536 }, (_, i) => word(i & 255, i >> 8, ((i & 255) + (i >> 8)) >> 1));
  const wide = new Palette();
  wide.count(many);
  wide.choose();
  const at = wide.indices(many);
  let worst = 0;
  many.forEach((value, i) => {
    for (let c = 0; c < 3; c++) worst = Math.max(worst, Math.abs(wide.colours[3 * at[i]! + c]! - ((value >> (8 * c)) & 255)));
  });
  assert.ok(worst <= 24, `${worst} of 255 away`);
  // a colour that was not counted gets its nearest one
  const [r, g] = [...wide.colours.slice(3 * wide.indices(Uint32Array.of(word(255, 0, 0)))[0]!)];
  assert.ok(r! >= 180 && g! < 60, `red became ${r}, ${g}`);
});

test("CRC-32 and the head of an array file are as specified", () => {
  assert.equal(crc32([new TextEncoder().encode("1234"), new TextEncoder().encode("56789")]), 0xcbf43926);
  for (const shape of [[], [3], [1000, 112, 112]]) {
    const head = npyHeader("<f4", shape);
    assert.equal(head.length % 64, 0);
    assert.equal(head[8]! + 256 * head[9]!, head.length - 10);
    assert.equal(head[head.length - 1], 0x0a);
  }
  assert.match(new TextDecoder("latin1").decode(npyHeader("<i8", [3])), /'fortran_order': False, 'shape': \(3,\), \}/);
});

test("texts are arrays of one width, and the archive ends in its directory", () => {
  const texts = textArray("names", ["a", "\u{1f600}b", ""]);
  assert.deepEqual([texts.dtype, texts.shape], ["<U2", [3]]);
  assert.deepEqual([...new Uint32Array(texts.pieces[0]!.slice().buffer)], [97, 0, 0x1f600, 98, 0, 0]);
  const bytes = Uint8Array.from(npz([texts, { name: "x", dtype: "|u1", shape: [2], pieces: [Uint8Array.of(1, 2)] }]).flatMap((p) => [...p]));
  const end = new DataView(bytes.buffer, bytes.length - 22);
  assert.deepEqual([end.getUint32(0, true), end.getUint16(10, true)], [0x06054b50, 2]);
  assert.equal(end.getUint32(12, true) + end.getUint32(16, true), bytes.length - 22);
});

test("file names hold nothing that a file system minds", () => {
  assert.equal(fileName("triangle 0", "png"), "triangle_0.png");
  assert.equal(fileName("../../etc/<img src=x onerror=1>\u202e", "gif"), "etc_img_src_x_onerror_1_.gif");
  assert.equal(fileName("\u4e09", "npz"), "probe.npz");
  assert.equal(fileName("x".repeat(10_000), "npz").length, 64);
});
