import assert from "node:assert/strict";
import test from "node:test";
import { deflateSync } from "node:zlib";
import { decodeHalf, decodeProbes, decodeStep, holds, inflate, joined, joinedPictures, layOut, mapValues, openEnvelope, planeOf } from "../src/data/decode";
import { classesOn, paintClasses } from "../src/paint/classes";

function envelope(header: object, chunks: Uint8Array[]): ArrayBuffer {
  const text = new TextEncoder().encode(JSON.stringify(header));
  const out = new Uint8Array(4 + text.length + chunks.reduce((n, chunk) => n + chunk.length, 0));
  new DataView(out.buffer).setUint32(0, text.length, true);
  out.set(text, 4);
  let at = 4 + text.length;
  for (const chunk of chunks) {
    out.set(chunk, at);
    at += chunk.length;
  }
  return out.buffer;
}

const step = (encoding: string, scale: (number | null)[], places: ([number, number] | null)[], shape: number[]): object => ({
  step: 7, epoch: 1, batch: 7, wall_time: 1, session: "a", encoding, map_shape: shape, scale, maps: places, probes: {},
  scalars: {}, notes: [], gradient_batch: 32,
});

test("sqrt8 maps decode to sign(q) (q/127)^2 scale, -128 to NaN, and a map that is not stored to null", async () => {
  const first = deflateSync(Uint8Array.from(new Uint8Array(Int8Array.from([127, -127, 0, 64, -128, 1]).buffer)));
  const frame = await decodeStep(envelope(step("sqrt8", [2, null], [[0, first.length], null], [2, 3]), [first]), [0, 1]);
  assert.equal(frame.maps.length, 2);
  assert.equal(frame.maps[1], null);
  const map = frame.maps[0]!;
  assert.deepEqual([map.height, map.width, map.absmax, frame.bytes], [2, 3, 2, 6]);
  const values = [...mapValues(map)];
  assert.deepEqual(values.slice(0, 3), [2, -2, 0]);
  assert.ok(Math.abs(values[3]! - 2 * (64 / 127) ** 2) < 1e-6);
  assert.ok(Number.isNaN(values[4]));
  assert.ok(Math.abs(values[5]! - 2 / 127 ** 2) < 1e-9);
});

test("predicted classes and labels decode to a class a place", async () => {
  const classes = deflateSync(Uint8Array.from(new Uint8Array(Int16Array.from([-1, 300, 0, 2, 1, 7]).buffer)));
  const map = deflateSync(Uint8Array.from([1, 2]));
  const header = { ...step("sqrt8", [1], [[0, map.length]], [2]), predicted: { shape: [2, 3], type: "i2", maps: [[map.length, classes.length]] } };
  const frame = await decodeStep(envelope(header, [map, classes]), [0]);
  assert.deepEqual([...frame.predicted![0]!.data], [-1, 300, 0, 2, 1, 7]);
  assert.deepEqual([frame.predicted![0]!.height, frame.predicted![0]!.width, frame.bytes], [2, 3, 26]);
  assert.deepEqual(classesOn(frame.predicted![0]!), [1, 2, 7, 300]);
  const words = paintClasses(frame.predicted![0]!);
  assert.equal(words[2], 0); // class 0 lets the picture through
  assert.equal(words[0]! & 0xffffff, 0x808080);
  assert.notEqual(words[3], words[4]);
  const [image, labels] = [deflateSync(Uint8Array.from([9, 9])), deflateSync(Uint8Array.from(new Uint8Array(Int32Array.from([1, -1, 5, 0]).buffer)))];
  const probes = await decodeProbes(
    envelope(
      { images: [0, image.length], masks: {}, shape: [2, 1, 1, 1], map_shape: [1], label_maps: { shape: [1, 2], place: [image.length, labels.length] } },
      [image, labels],
    ),
  );
  assert.deepEqual(probes.labels!.map(({ data }) => [...data]), [[1, -1], [5, 0]]);
});

test("a step comes in parts: only the probes that were asked for are decoded, and parts are joined", async () => {
  const packed = [[1, 2], [3, 4], [5, 6]].map((values) => deflateSync(Uint8Array.from(values)));
  const places: [number, number][] = [];
  packed.reduce((end, { length }) => (places.push([end, length]), end + length), 0);
  const answer = envelope(step("sqrt8", [1, 1, 1, 1], [...places, null], [1, 2]), packed);
  const values = (frame: Awaited<ReturnType<typeof decodeStep>>): unknown[] => frame.maps.map((map) => map && [...map.data]);
  const first = await decodeStep(answer, [2]);
  assert.deepEqual([values(first), first.bytes], [[undefined, undefined, [5, 6], undefined], 2]);
  assert.deepEqual([[2], [2, 1], []].map((probes) => holds(first, probes)), [true, false, true]);
  const both = joined(first, await decodeStep(answer, [0, 3]));
  assert.deepEqual([values(both), both.bytes], [[[1, 2], undefined, [5, 6], null], 4]);
  assert.equal(both.maps[2], first.maps[2]); // what is on the page is not drawn again
  assert.equal(both.header, first.header);
  assert.ok(holds(both, [0, 2, 3]));
});

test("float16 and float32 maps decode to their values, absmax over the finite ones", async () => {
  const half = Uint8Array.from([0x00, 0x3c, 0x00, 0xc0, 0x01, 0x00, 0x00, 0x7c]); // 1, -2, 2^-24, inf
  assert.deepEqual([...decodeHalf(half)], [1, -2, 2 ** -24, Infinity]);
  assert.ok(Number.isNaN(decodeHalf(Uint8Array.from([0x01, 0x7e]))[0]));
  const packed = deflateSync(half);
  const frame = await decodeStep(envelope(step("float16", [3], [[0, packed.length]], [4]), [packed]), [0]);
  assert.deepEqual([frame.maps[0]!.height, frame.maps[0]!.width, frame.maps[0]!.absmax], [1, 4, 6]);
  assert.deepEqual([...mapValues(frame.maps[0]!)], [3, -6, 3 * 2 ** -24, Infinity]); // shares of the scale, 3
  const floats = deflateSync(new Uint8Array(Float32Array.from([0.5, -3]).buffer));
  const other = await decodeStep(envelope(step("float32", [3], [[0, floats.length]], [1, 2]), [floats]), [0]);
  assert.deepEqual([...mapValues(other.maps[0]!)], [0.5, -3]);
  assert.equal(other.maps[0]!.absmax, 3);
});

test("an unknown encoding, a lying header and a chunk of the wrong size are refused with a reason", async () => {
  await assert.rejects(decodeStep(envelope(step("jpeg", [1], [[0, 1]], [1]), [new Uint8Array(1)]), [0]), /"jpeg"/);
  const lying = new ArrayBuffer(8);
  new DataView(lying).setUint32(0, 100, true);
  assert.throws(() => openEnvelope(lying), /claims 100 bytes/);
  assert.throws(() => openEnvelope(new ArrayBuffer(2)), /2 bytes and no header/);
  const chunk = new Uint8Array(deflateSync(new Uint8Array(9)));
  await assert.rejects(inflate(chunk, [0, chunk.length], 8), /more than the 8 bytes expected/);
  await assert.rejects(inflate(chunk, [0, chunk.length], 10), /inflates to 9 bytes, 10 were expected/);
  await assert.rejects(inflate(chunk, [1, chunk.length - 1], 9), /damaged/);
  await assert.rejects(inflate(chunk, [0, chunk.length - 2], 9), /damaged/);
  await assert.rejects(inflate(chunk, [4, chunk.length], 9), /outside the answer/);
});

test("probes: images and masks of each probe are cut at their places", async () => {
  const images = deflateSync(Uint8Array.from({ length: 12 }, (_, i) => i));
  const masks = deflateSync(Uint8Array.from([1, 0, 0, 1]));
  const header = {
    images: [0, images.length],
    masks: { "a <b>": [images.length, masks.length] },
    shape: [2, 1, 2, 3],
    map_shape: [1, 2],
  };
  const probes = await decodeProbes(envelope(header, [images, masks]));
  assert.deepEqual([...probes.pictures[1]!.data], [6, 7, 8, 9, 10, 11]);
  assert.deepEqual([probes.pictures[1]!.height, probes.pictures[1]!.width, probes.pictures[1]!.channels], [1, 2, 3]);
  assert.deepEqual(probes.masks.get("a <b>")!.map((mask) => [...mask]), [[1, 0], [0, 1]]);
});

test("probes come in parts: those of an answer stand at their places, and parts are joined", async () => {
  const part = async (of: number[]) => {
    const images = deflateSync(Uint8Array.from(of));
    const masks = deflateSync(Uint8Array.from(of.map((at) => at % 2)));
    const header = {
      of,
      images: [0, images.length],
      masks: { dot: [images.length, masks.length] },
      inputs: [{ values: null, pictures: null, tokens: of.map((at) => [`word ${at}`]) }],
      shape: [4, 1, 1, 1],
      map_shape: [1, 1],
    };
    return decodeProbes(envelope(header, [images, masks]));
  };
  const seen = <Part>(list: Part[]): (Part | undefined)[] => Array.from({ length: 4 }, (_, i) => list[i]);
  const first = await part([2]);
  assert.deepEqual(seen(first.pictures).map((one) => one?.data[0]), [undefined, undefined, 2, undefined]);
  const both = joinedPictures(first, await part([3, 0]));
  assert.deepEqual(seen(both.pictures).map((one) => one?.data[0]), [0, undefined, 2, 3]);
  assert.deepEqual(seen(both.masks.get("dot")!).map((one) => one?.[0]), [0, undefined, 0, 1]);
  assert.deepEqual(seen(both.inputs[0]!.tokens!), [["word 0"], undefined, ["word 2"], ["word 3"]]);
  assert.equal(both.pictures[2], first.pictures[2]);
});

test("volumes are laid out in ceil(sqrt(slices)) columns, row by row, leading axes flattened", () => {
  assert.deepEqual(planeOf([5]), { height: 1, width: 5, depth: 1, columns: 1 });
  assert.deepEqual(planeOf([3, 1, 2]), { height: 2, width: 4, depth: 3, columns: 2 });
  assert.deepEqual(planeOf([2, 3, 1, 2]), { height: 2, width: 6, depth: 6, columns: 3 });
  const laid = layOut(Int8Array.from([1, 2, 3, 4, 5, 6]), planeOf([3, 1, 2]), 0);
  assert.deepEqual([...laid], [1, 2, 3, 4, 5, 6, 0, 0]);
  const tall = layOut(Int8Array.from([1, 2, 3, 4, 5, 6, 7, 8]), planeOf([2, 2, 2]), 0);
  assert.deepEqual([...tall], [1, 2, 5, 6, 3, 4, 7, 8]);
});
