// Writes animated GIFs (GIF89a): one palette for all frames, each frame whole, played for ever.

/** A growing row of bytes. */
class Bytes {
  private data = new Uint8Array(1 << 16);
  length = 0;

  push(...bytes: number[]): void {
    for (const byte of bytes) this.put(byte);
  }

  put(byte: number): void {
    if (this.length === this.data.length) {
      const larger = new Uint8Array(2 * this.length);
      larger.set(this.data);
      this.data = larger;
    }
    this.data[this.length++] = byte;
  }

  whole(): Uint8Array {
    return this.data.slice(0, this.length);
  }
}

const short = (value: number): [number, number] => [value & 255, value >> 8];
const CLEAR = 256;
const END = 257;

export class GifWriter {
  private readonly out = new Bytes();
  /** For each code and next pixel the longer code, 0 where there is none. */
  private readonly longer = new Uint16Array(4096 * 256);

  /** `colours`: RGB bytes of 256 colours. */
  constructor(
    private readonly width: number,
    private readonly height: number,
    colours: Uint8Array,
  ) {
    this.out.push(...Array.from("GIF89a", (c) => c.charCodeAt(0)), ...short(width), ...short(height), 0xf7, 0, 0, ...colours);
    this.out.push(0x21, 0xff, 11, ...Array.from("NETSCAPE2.0", (c) => c.charCodeAt(0)), 3, 1, 0, 0, 0);
  }

  /** Adds a picture of places in the palette, shown for `milliseconds`. */
  frame(indices: Uint8Array, milliseconds: number): void {
    if (indices.length !== this.width * this.height) throw new Error(`a frame of ${indices.length} pixels`);
    this.out.push(0x21, 0xf9, 4, 4, ...short(Math.round(milliseconds / 10)), 0, 0);
    this.out.push(0x2c, 0, 0, 0, 0, ...short(this.width), ...short(this.height), 0, 8);
    this.compress(indices);
  }

  finish(): Uint8Array {
    this.out.put(0x3b);
    return this.out.whole();
  }

  private compress(indices: Uint8Array): void {
    const block = new Uint8Array(255);
    let used = 0;
    let bits = 0;
    let held = 0;
    let size = 9;
    let next = END + 1;
    const flush = (): void => {
      if (used === 0) return;
      this.out.put(used);
      for (let i = 0; i < used; i++) this.out.put(block[i]!);
      used = 0;
    };
    const emit = (code: number): void => {
      bits |= code << held;
      held += size;
      while (held >= 8) {
        block[used++] = bits & 255;
        if (used === 255) flush();
        bits >>>= 8;
        held -= 8;
      }
    };
    const clear = (): void => {
      emit(CLEAR);
      this.longer.fill(0);
      size = 9;
      next = END + 1;
    };
    clear();
    let code = indices[0]!;
    for (let i = 1; i < indices.length; i++) {
      const pixel = indices[i]!;
      const place = code * 256 + pixel;
      const known = this.longer[place]!;
      if (known !== 0) {
        code = known;
        continue;
      }
      emit(code);
      code = pixel;
      if (next === 4096) clear();
      else {
        // The reader learns each code one emission later: the width grows when it, not the writer, needs it.
        if (next === 1 << size) size++;
        this.longer[place] = next++;
      }
    }
    emit(code);
    if (next === 1 << size && size < 12) size++;
    emit(END);
    if (held > 0) {
      block[used++] = bits & 255;
      if (used === 255) flush();
    }
    flush();
    this.out.put(0);
  }
}
