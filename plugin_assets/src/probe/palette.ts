// The 256 colours that stand for all others in a GIF: median cut over the colours at 5 bits a channel.

const BITS = 5;
const LEVELS = 1 << BITS;
const KEYS = LEVELS ** 3;

/** Key 0 ... 32767 of an RGBA word as it lies in memory. */
const keyOf = (word: number): number => ((word & 0xf8) << 7) | ((word & 0xf800) >> 6) | ((word >> 19) & 31);
const channelOf = (key: number, channel: number): number => (key >> (BITS * (2 - channel))) & (LEVELS - 1);

interface Box {
  keys: number[];
  weight: number;
}

/** Counts colours; then gives a palette and the place in it of each colour. */
export class Palette {
  private readonly counts = new Float64Array(KEYS);
  private readonly sums = new Float64Array(3 * KEYS);
  private readonly places = new Int16Array(KEYS).fill(-1);
  /** RGB bytes of 256 colours, once `choose` was called. */
  readonly colours = new Uint8Array(768);

  count(pixels: Uint32Array): void {
    for (let i = 0; i < pixels.length; i++) {
      const word = pixels[i]!;
      const key = keyOf(word);
      this.counts[key]!++;
      this.sums[3 * key]! += word & 255;
      this.sums[3 * key + 1]! += (word >> 8) & 255;
      this.sums[3 * key + 2]! += (word >> 16) & 255;
    }
  }

  choose(): void {
    const keys: number[] = [];
    for (let key = 0; key < KEYS; key++) if (this.counts[key]! > 0) keys.push(key);
    let boxes = [this.box(keys)];
    while (boxes.length < 256) {
      boxes.sort((a, b) => b.weight - a.weight);
      const parts = boxes[0] === undefined ? null : this.split(boxes[0]);
      if (!parts) break;
      boxes = [...parts, ...boxes.slice(1)];
    }
    boxes.forEach((box, place) => {
      const total = box.keys.reduce((sum, key) => sum + this.counts[key]!, 0);
      for (let c = 0; c < 3; c++) {
        const sum = box.keys.reduce((s, key) => s + this.sums[3 * key + c]!, 0);
        this.colours[3 * place + c] = total > 0 ? Math.round(sum / total) : 0;
      }
      for (const key of box.keys) this.places[key] = place;
    });
  }

  /** Places in the palette of pixels. */
  indices(pixels: Uint32Array): Uint8Array {
    const out = new Uint8Array(pixels.length);
    for (let i = 0; i < pixels.length; i++) {
      const key = keyOf(pixels[i]!);
      let place = this.places[key]!;
      if (place < 0) place = this.places[key] = this.nearest(key);
      out[i] = place;
    }
    return out;
  }

  /** Splits where the spread is widest, at the median: rare colours of a wide box come before shades of a common one. */
  private box(keys: number[]): Box {
    let widest = 0;
    for (let c = 0; c < 3; c++) {
      const values = keys.map((key) => channelOf(key, c));
      const low = values.reduce((a, b) => Math.min(a, b), LEVELS);
      widest = Math.max(widest, values.reduce((a, b) => Math.max(a, b), 0) - low);
    }
    const total = keys.reduce((sum, key) => sum + this.counts[key]!, 0);
    return { keys, weight: keys.length < 2 ? 0 : widest * Math.sqrt(total) };
  }

  private split({ keys, weight }: Box): Box[] | null {
    if (weight === 0) return null;
    const spans = [0, 1, 2].map((c) => {
      const values = keys.map((key) => channelOf(key, c));
      return values.reduce((a, b) => Math.max(a, b)) - values.reduce((a, b) => Math.min(a, b));
    });
    const channel = spans.indexOf(Math.max(...spans));
    const sorted = [...keys].sort((a, b) => channelOf(a, channel) - channelOf(b, channel) || a - b);
    const half = sorted.reduce((sum, key) => sum + this.counts[key]!, 0) / 2;
    let at = 1;
    for (let sum = this.counts[sorted[0]!]!; at < sorted.length - 1 && sum < half; at++) sum += this.counts[sorted[at]!]!;
    return [this.box(sorted.slice(0, at)), this.box(sorted.slice(at))];
  }

  private nearest(key: number): number {
    let best = 0;
    let least = Infinity;
    for (let place = 0; place < 256; place++) {
      let distance = 0;
      for (let c = 0; c < 3; c++) distance += (8 * channelOf(key, c) + 4 - this.colours[3 * place + c]!) ** 2;
      if (distance < least) [best, least] = [place, distance];
    }
    return best;
  }
}
