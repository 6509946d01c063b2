// Colours of classes, as a label map is drawn over its picture.
import type { ClassMap, Picture } from "../data/decode";
import { sliceAt } from "../data/source";

/** Class 0, mostly the ground, lets the picture through. */
const STRENGTH = 150;

/** The colour of a class: hues that lie far apart for classes that follow each other, 0 ... 255. */
export function classColour(label: number): [number, number, number] {
  const hue = (200 + 137.508 * (label - 1)) % 360;
  const of = (n: number): number => {
    const k = (n + hue / 30) % 12;
    return Math.round(255 * (0.55 - 0.4 * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return [of(0), of(8), of(4)];
}

export const classCss = (label: number): string => `rgb(${classColour(label).join(" ")})`;

/** One RGBA word a place; what has no class is hatched grey, class 0 clear. */
export function paintClasses({ data, height, width }: Pick<ClassMap, "data" | "height" | "width">): Uint32Array {
  const out = new Uint32Array(height * width);
  const words = new Map<number, number>();
  for (let i = 0; i < out.length; i++) {
    const label = data[i]!;
    if (label === 0) continue;
    let word = words.get(label);
    if (word === undefined) {
      const [r, g, b] = label < 0 ? [128, 128, 128] : classColour(label);
      words.set(label, (word = ((STRENGTH << 24) | (b << 16) | (g << 8) | r) >>> 0));
    }
    out[i] = word;
  }
  return out;
}

/** The classes on a map, ascending, class 0 and none left out. */
export const classesOn = ({ data }: Pick<ClassMap, "data">): number[] => [...new Set(data)].filter((label) => label > 0).sort((a, b) => a - b);

type SheetOfSlices = Pick<ClassMap, "data" | "height" | "width"> | Picture;

/** One slice of a volume whose slices lie side by side as `planeOf` lays them out; what has one is given as it is. */
export function sliceOf<Sheet extends SheetOfSlices>(sheet: Sheet, depth: number, share: number): Sheet {
  if (depth <= 1) return sheet;
  const columns = Math.ceil(Math.sqrt(depth));
  const [height, width] = [sheet.height / Math.ceil(depth / columns), sheet.width / columns];
  const each = "channels" in sheet ? sheet.channels : 1;
  const at = sliceAt(share, depth);
  const [top, left] = [Math.floor(at / columns) * height, (at % columns) * width];
  const data = new (sheet.data.constructor as new (n: number) => typeof sheet.data)(height * width * each);
  for (let row = 0; row < height; row++) {
    const from = ((top + row) * sheet.width + left) * each;
    data.set(sheet.data.subarray(from, from + width * each), row * width * each);
  }
  return { ...sheet, data, height, width };
}
