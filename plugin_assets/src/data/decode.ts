// From the bytes of a binary answer to arrays: u32 length, JSON header, zlib chunks at (offset, length) behind it.
import type { StepHeader } from "./types";

/** One heatmap as stored. "sqrt8": value = sign(q) (q/127)^2 scale, -128 = not finite. "float": the values. */
export type HeatMap =
  | { kind: "sqrt8"; data: Int8Array; absmax: number; height: number; width: number }
  | { kind: "float"; data: Float32Array; absmax: number; height: number; width: number };

/** One step of one run, with the heatmaps of the probes that were asked for: undefined: not asked for (yet); null: not stored. */
export interface Frame {
  header: StepHeader;
  maps: readonly (HeatMap | null | undefined)[];
  /** Of an output of maps the predicted class of each place, of the same probes. */
  predicted: readonly (ClassMap | undefined)[] | null;
  bytes: number;
}

/** A class at each place, -1 for none; of a volume its slices side by side. */
export interface ClassMap extends Plane {
  data: Int32Array;
  /** Of the map as stored. */
  shape: readonly number[];
}

/** Whether the heatmaps of all these probes have come, as far as they were stored. */
export const holds = ({ maps }: Frame, probes: readonly number[]): boolean => probes.every((probe) => maps[probe] !== undefined);

/** A frame with the heatmaps of another part of the same step. */
export function joined(frame: Frame | undefined, more: Frame): Frame {
  if (!frame) return more;
  const maps = more.maps.map((map, probe) => (map === undefined ? frame.maps[probe] : map));
  const predicted = more.predicted && more.predicted.map((map, probe) => map ?? frame.predicted?.[probe]);
  return { header: frame.header, maps, predicted, bytes: frame.bytes + more.bytes };
}

export interface Picture {
  data: Uint8Array;
  height: number;
  width: number;
  channels: number;
}

/** What is shown of the probes themselves. In each list there are those probes that have come: of a large set not all at first. */
export interface ProbePictures {
  pictures: Picture[];
  /** name -> one mask per probe, a byte 0 or 1 per pixel of the map */
  masks: Map<string, Uint8Array[]>;
  mapHeight: number;
  mapWidth: number;
  /** The labels of all places of an output of maps. */
  labels: ClassMap[] | null;
  /** The watched inputs' own values, texts or pictures, each one a probe; none in runs from before they were kept. */
  inputs: InputValues[];
}

export interface InputValues {
  values: Float32Array[] | null;
  tokens: string[][] | null;
  pictures: Picture[] | null;
}

interface Envelope<Header> {
  header: Header;
  chunks: Uint8Array;
}

/** Splits a binary answer; throws where the lengths cannot be right. */
export function openEnvelope<Header>(buffer: ArrayBuffer): Envelope<Header> {
  if (buffer.byteLength < 4) throw new Error(`the answer has ${buffer.byteLength} bytes and no header`);
  const length = new DataView(buffer).getUint32(0, true);
  if (4 + length > buffer.byteLength) {
    throw new Error(`the answer's header claims ${length} bytes, the whole answer has ${buffer.byteLength}`);
  }
  const text = new TextDecoder("utf-8", { fatal: true }).decode(new Uint8Array(buffer, 4, length));
  return { header: JSON.parse(text) as Header, chunks: new Uint8Array(buffer, 4 + length) };
}

/** Inflates one zlib chunk that must come to exactly `expected` bytes. */
export async function inflate(chunks: Uint8Array, range: [number, number], expected: number): Promise<Uint8Array> {
  const [offset, length] = range;
  if (offset < 0 || length < 0 || offset + length > chunks.byteLength) {
    throw new Error(`a chunk at ${offset} of ${length} bytes lies outside the answer of ${chunks.byteLength} bytes`);
  }
  // Written and read by hand: by way of Blob and Response the same takes four times as long.
  const stream = new DecompressionStream("deflate");
  const writer = stream.writable.getWriter();
  const written = writer.write(chunks.subarray(offset, offset + length) as BufferSource).then(() => writer.close());
  written.catch(() => undefined); // the reader rejects with what is wrong with the data as well
  const out = new Uint8Array(expected);
  const reader = stream.readable.getReader();
  let at = 0;
  for (;;) {
    const { done, value } = await reader.read().catch((error: unknown) => {
      throw new Error(`a chunk of ${length} bytes is damaged (${error instanceof Error ? error.message : String(error)})`);
    });
    if (done) break;
    if (at + value.length > expected) {
      void reader.cancel();
      throw new Error(`a chunk inflates to more than the ${expected} bytes expected`);
    }
    out.set(value, at);
    at += value.length;
  }
  if (at !== expected) throw new Error(`a chunk inflates to ${at} bytes, ${expected} were expected`);
  return out;
}

/** Height and width of a map as drawn, and for volumes the number of columns of the montage of slices. */
export interface Plane {
  height: number;
  width: number;
  depth: number;
  columns: number;
}

/**
 * How a map of `shape` is laid out as a picture, as the display images are: one axis is a row, two are rows and
 * columns, and more are a montage of slices in a grid of ceil(sqrt(slices)) columns.
 */
export function planeOf(shape: readonly number[]): Plane {
  if (shape.length === 0) throw new Error("a map without axes cannot be drawn");
  const width = shape[shape.length - 1]!;
  const height = shape.length === 1 ? 1 : shape[shape.length - 2]!;
  const depth = shape.slice(0, -2).reduce((a, b) => a * b, 1);
  const columns = Math.ceil(Math.sqrt(depth));
  return { height: height * Math.ceil(depth / columns), width: width * columns, depth, columns };
}

/** Puts the slices of a volume side by side, row by row; cells without a slice get `fill`. */
export function layOut<Data extends Int8Array | Float32Array | Uint8Array | Int32Array>(data: Data, plane: Plane, fill: number): Data {
  if (plane.depth === 1) return data;
  const out = new (data.constructor as new (n: number) => Data)(plane.height * plane.width).fill(fill) as Data;
  const width = plane.width / plane.columns;
  const height = plane.height / Math.ceil(plane.depth / plane.columns);
  for (let slice = 0; slice < plane.depth; slice++) {
    const top = Math.floor(slice / plane.columns) * height;
    const left = (slice % plane.columns) * width;
    for (let row = 0; row < height; row++) {
      const from = (slice * height + row) * width;
      out.set(data.subarray(from, from + width), (top + row) * plane.width + left);
    }
  }
  return out;
}

/** The slices of a volume one after the other again: what `layOut` was given. */
export function takeApart<Data extends Int32Array | Uint8Array>(data: Data, plane: Plane): Data {
  if (plane.depth === 1) return data;
  const [height, width] = [plane.height / Math.ceil(plane.depth / plane.columns), plane.width / plane.columns];
  const out = new (data.constructor as new (n: number) => Data)(plane.depth * height * width) as Data;
  for (let row = 0; row < plane.depth * height; row++) {
    const slice = Math.floor(row / height);
    const from = (Math.floor(slice / plane.columns) * height + (row % height)) * plane.width + (slice % plane.columns) * width;
    out.set(data.subarray(from, from + width), row * width);
  }
  return out;
}

/** IEEE half precision, as little-endian bytes, to float32. */
export function decodeHalf(bytes: Uint8Array): Float32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const out = new Float32Array(bytes.byteLength / 2);
  for (let i = 0; i < out.length; i++) {
    const bits = view.getUint16(2 * i, true);
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const mantissa = bits & 1023;
    if (exponent === 31) out[i] = mantissa ? NaN : sign * Infinity;
    else if (exponent === 0) out[i] = sign * mantissa * 2 ** -24;
    else out[i] = sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
  }
  return out;
}

const BYTES_PER_PIXEL: Record<string, number> = { sqrt8: 1, float16: 2, float32: 4 };

/** Decodes one map of `shape`, laid out as `plane`; `scale` is what stands beside it in the header. */
export async function decodeMap(
  chunks: Uint8Array,
  range: [number, number],
  encoding: string,
  scale: number | null | undefined,
  shape: readonly number[],
  plane: Plane,
): Promise<HeatMap> {
  const perPixel = BYTES_PER_PIXEL[encoding];
  if (perPixel === undefined) {
    throw new Error(`maps are stored as "${encoding}", which this page does not know; is the page older than the log?`);
  }
  const pixels = shape.reduce((a, b) => a * b, 1);
  const raw = await inflate(chunks, range, pixels * perPixel);
  const { height, width } = plane;
  if (encoding === "sqrt8") {
    return { kind: "sqrt8", data: layOut(new Int8Array(raw.buffer), plane, 0), absmax: scale ?? 0, height, width };
  }
  const values = encoding === "float16" ? scaled(decodeHalf(raw), scale) : littleEndianFloats(raw);
  return { kind: "float", data: layOut(values, plane, 0), absmax: finiteAbsmax(values), height, width };
}

/** Decodes the answer of the route `step`, of the heatmaps in it those of some probes. */
export async function decodeStep(buffer: ArrayBuffer, probes: readonly number[]): Promise<Frame> {
  const { header, chunks } = openEnvelope<StepHeader>(buffer);
  const plane = planeOf(header.map_shape);
  const maps = new Array<HeatMap | null | undefined>(header.maps.length).fill(undefined);
  let bytes = 0;
  await Promise.all(
    probes.map(async (probe) => {
      const range = header.maps[probe] ?? null;
      maps[probe] = range && (await decodeMap(chunks, range, header.encoding, header.scale[probe], header.map_shape, plane));
      bytes += maps[probe]?.data.byteLength ?? 0;
    }),
  );
  const { predicted } = header;
  if (!predicted) return { header, maps, predicted: null, bytes };
  const classes = new Array<ClassMap | undefined>(maps.length).fill(undefined);
  await Promise.all(
    probes.map(async (probe) => {
      const range = predicted.maps[probe];
      if (!range) return;
      const one = await decodeClasses(chunks, range, predicted.type, predicted.shape);
      classes[probe] = one;
      bytes += one.data.byteLength;
    }),
  );
  return { header, maps, predicted: classes, bytes };
}

const CLASS_BYTES: Record<string, number> = { i1: 1, i2: 2, i4: 4 };

/** Classes as stored: whole numbers of 1, 2 or 4 bytes, one a place. */
async function wholeNumbers(chunks: Uint8Array, range: [number, number], type: string, count: number): Promise<Int32Array> {
  const bytes = CLASS_BYTES[type];
  if (bytes === undefined) throw new Error(`classes are stored as "${type}", which this page does not know`);
  const raw = await inflate(chunks, range, bytes * count);
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  const of = (i: number): number => (bytes === 1 ? view.getInt8(i) : bytes === 2 ? view.getInt16(2 * i, true) : view.getInt32(4 * i, true));
  return Int32Array.from({ length: count }, (_, i) => of(i));
}

/** A map of classes of `shape`, laid out by `planeOf` unless `plane` is given. */
export async function decodeClasses(chunks: Uint8Array, range: [number, number], type: string, shape: readonly number[], plane = planeOf(shape)): Promise<ClassMap> {
  const data = await wholeNumbers(chunks, range, type, shape.reduce((a, b) => a * b, 1));
  return { data: layOut(data, plane, 0), ...plane, shape };
}

/** Half precision holds relevance as a share of the map's largest, since small relevance would vanish in it. */
function scaled(shares: Float32Array, scale: number | null | undefined): Float32Array {
  return scale ? shares.map((share) => share * scale) : shares;
}

function littleEndianFloats(raw: Uint8Array): Float32Array {
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  return Float32Array.from({ length: raw.byteLength / 4 }, (_, i) => view.getFloat32(4 * i, true));
}

function finiteAbsmax(values: Float32Array): number {
  let largest = 0;
  for (const value of values) {
    const size = Math.abs(value);
    if (size > largest && size !== Infinity) largest = size;
  }
  return largest;
}

/** Whether no value of a map is NaN or infinite. */
export const allFinite = (map: HeatMap): boolean => (map.kind === "float" ? map.data.every(Number.isFinite) : !map.data.includes(-128));

/** The values of a map in the units of relevance; NaN where they were not finite. */
export function mapValues(map: HeatMap): Float32Array {
  if (map.kind === "float") return map.data;
  return Float32Array.from(map.data, (q) => (q === -128 ? NaN : Math.sign(q) * (q / 127) ** 2 * map.absmax));
}

/** Pictures with those of other probes of the same set. */
export function joinedPictures(known: ProbePictures | null, more: ProbePictures): ProbePictures {
  if (known === null) return more;
  const both = <Part>(old: Part[], fresh: Part[]): Part[] => {
    const out = fresh.slice();
    old.forEach((one, i) => (out[i] = one));
    return out;
  };
  const either = <Part>(old: Part[] | null, fresh: Part[] | null): Part[] | null => old && fresh && both(old, fresh);
  return {
    ...more,
    pictures: both(known.pictures, more.pictures),
    masks: new Map([...more.masks].map(([name, masks]) => [name, both(known.masks.get(name) ?? [], masks)])),
    labels: either(known.labels, more.labels),
    inputs: more.inputs.map((input, i) => ({
      values: either(known.inputs[i]?.values ?? null, input.values),
      tokens: either(known.inputs[i]?.tokens ?? null, input.tokens),
      pictures: either(known.inputs[i]?.pictures ?? null, input.pictures),
    })),
  };
}

/** Decodes the answer of the route `probes`: display images and masks. */
export async function decodeProbes(buffer: ArrayBuffer): Promise<ProbePictures> {
  const { header, chunks } = openEnvelope<{
    /** The places of those in the answer; absent: all. */
    of?: number[];
    images: [number, number];
    masks: Record<string, [number, number]>;
    shape: [number, number, number, number];
    map_shape: number[];
    label_maps?: Placed | null;
    inputs?: InputHeader[];
  }>(buffer);
  const [whole, height, width, channels] = header.shape;
  const count = header.of?.length ?? whole;
  /** A list over the set of what is made of each probe in the answer. */
  const each = <Part>(make: (i: number) => Part): Part[] => {
    const out = new Array<Part>(whole);
    for (let i = 0; i < count; i++) out[header.of?.[i] ?? i] = make(i);
    return out;
  };
  const size = height * width * channels;
  const images = await inflate(chunks, header.images, count * size);
  const pictures = each((i) => ({ data: images.subarray(i * size, (i + 1) * size), height, width, channels }));
  const plane = planeOf(header.map_shape);
  const pixels = header.map_shape.reduce((a, b) => a * b, 1);
  const masks = new Map<string, Uint8Array[]>();
  for (const [name, range] of Object.entries(header.masks)) {
    const bytes = await inflate(chunks, range, count * pixels);
    masks.set(
      name,
      each((i) => layOut(bytes.subarray(i * pixels, (i + 1) * pixels), plane, 0)),
    );
  }
  const labels = header.label_maps ? await decodeLabels(chunks, header.label_maps, count, each) : null;
  const inputs = await Promise.all((header.inputs ?? []).map((input) => decodeInput(chunks, input, count, each)));
  return { pictures, masks, mapHeight: plane.height, mapWidth: plane.width, labels, inputs };
}

interface Placed {
  shape: number[];
  place: [number, number];
}

interface InputHeader {
  values: Placed | null;
  pictures: Placed | null;
  tokens: string[][] | null;
}

type Each = <Part>(make: (i: number) => Part) => Part[];

async function decodeLabels(chunks: Uint8Array, { shape, place }: Placed, count: number, each: Each): Promise<ClassMap[]> {
  const size = shape.reduce((a, b) => a * b, 1);
  const all = await wholeNumbers(chunks, place, "i4", count * size);
  const plane = planeOf(shape);
  return each((i) => ({ data: layOut(all.subarray(i * size, (i + 1) * size), plane, 0), ...plane, shape }));
}

async function decodeInput(chunks: Uint8Array, { values, pictures, tokens }: InputHeader, count: number, each: Each): Promise<InputValues> {
  const size = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
  const out: InputValues = { values: null, tokens: tokens && each((i) => tokens[i]!), pictures: null };
  if (values) {
    const n = size(values.shape);
    const all = littleEndianFloats(await inflate(chunks, values.place, 4 * n * count));
    out.values = each((i) => all.subarray(i * n, (i + 1) * n));
  }
  if (pictures) {
    const [height, width, channels] = pictures.shape as [number, number, number];
    const n = height * width * channels;
    const all = await inflate(chunks, pictures.place, n * count);
    out.pictures = each((i) => ({ data: all.subarray(i * n, (i + 1) * n), height, width, channels }));
  }
  return out;
}
