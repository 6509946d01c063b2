// Writes .npz: arrays in NumPy's own format (version 1.0), in a zip archive without compression.

export interface ArrayFile {
  name: string;
  /** NumPy's type code, such as "<f4". */
  dtype: string;
  shape: readonly number[];
  /** The elements in C order, in pieces. */
  pieces: Uint8Array[];
}

const encoder = new TextEncoder();
const MOST_BYTES = 2 ** 32 - 1;

const table = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c >>> 0;
});

/** CRC-32 of pieces joined. */
export function crc32(pieces: readonly Uint8Array[]): number {
  let crc = 0xffffffff;
  for (const piece of pieces) {
    for (let i = 0; i < piece.length; i++) crc = table[(crc ^ piece[i]!) & 255]! ^ (crc >>> 8);
  }
  return (crc ^ 0xffffffff) >>> 0;
}

/** The head of an .npy file: its end lies at a multiple of 64 bytes. */
export function npyHeader(dtype: string, shape: readonly number[]): Uint8Array {
  const tuple = `(${shape.map((n) => `${n},`).join(" ")})`;
  const text = `{'descr': '${dtype}', 'fortran_order': False, 'shape': ${tuple}, }`;
  const length = Math.ceil((10 + text.length + 1) / 64) * 64 - 10;
  const out = new Uint8Array(10 + length).fill(0x20);
  out.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, length & 255, length >> 8]);
  out.set(encoder.encode(text), 10);
  out[out.length - 1] = 0x0a;
  return out;
}

export const bytesOf = (array: ArrayBufferView): Uint8Array =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

/** Texts as a NumPy array of fixed width (UTF-32). */
export function textArray(name: string, texts: readonly string[]): ArrayFile {
  const points = texts.map((text) => Array.from(text, (c) => c.codePointAt(0)!));
  const width = Math.max(1, ...points.map((p) => p.length));
  const out = new Uint32Array(texts.length * width);
  points.forEach((p, i) => out.set(p, i * width));
  return { name, dtype: `<U${width}`, shape: [texts.length], pieces: [bytesOf(out)] };
}

const little = (...fields: [value: number, bytes: number][]): Uint8Array => {
  const out: number[] = [];
  for (const [value, bytes] of fields) for (let i = 0; i < bytes; i++) out.push(Math.floor(value / 256 ** i) & 255);
  return Uint8Array.from(out);
};

/** The archive in pieces. Throws above 4 GB, which would need another format. */
export function npz(files: readonly ArrayFile[]): Uint8Array[] {
  const out: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let offset = 0;
  const put = (into: Uint8Array[], piece: Uint8Array): void => void into.push(piece);
  for (const file of files) {
    const name = encoder.encode(`${file.name}.npy`);
    const pieces = [npyHeader(file.dtype, file.shape), ...file.pieces];
    const size = pieces.reduce((sum, piece) => sum + piece.length, 0);
    // version 2.0; names are UTF-8; stored; 1 January 1980: the same content gives the same file
    const common = little([20, 2], [0x800, 2], [0, 2], [0, 2], [0x21, 2], [crc32(pieces), 4], [size, 4], [size, 4], [name.length, 2], [0, 2]);
    const head = [little([0x04034b50, 4]), common, name];
    put(directory, little([0x02014b50, 4], [20, 2]));
    put(directory, common);
    put(directory, little([0, 2], [0, 2], [0, 2], [0, 4], [offset, 4]));
    put(directory, name);
    for (const piece of [...head, ...pieces]) {
      put(out, piece);
      offset += piece.length;
    }
    if (offset > MOST_BYTES) throw new Error("More than 4 GB of arrays; `lrp-monitor export` writes any number of steps.");
  }
  const length = directory.reduce((sum, piece) => sum + piece.length, 0);
  const end = little([0x06054b50, 4], [0, 2], [0, 2], [files.length, 2], [files.length, 2], [length, 4], [offset, 4], [0, 2]);
  return [...out, ...directory, end];
}
