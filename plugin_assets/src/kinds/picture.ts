// A picture, or one slice of a volume: the input, and its heatmap beside it.
import type { HeatMap } from "../data/decode";
import { paintHeatMap, paintPicture } from "../paint/colormap";
import { outlinePath } from "../paint/outline";
import type { Look, Panel } from "./panel";
import { cut, depthOf, sliceAt, type Source } from "../data/source";

const GAP = 6;

function wordsTo(context: CanvasRenderingContext2D, words: Uint32Array, size: [number, number], at: [number, number, number, number]): void {
  const scratch = document.createElement("canvas");
  [scratch.width, scratch.height] = size;
  const pixels = new Uint8ClampedArray(words.buffer as ArrayBuffer, words.byteOffset, words.byteLength);
  scratch.getContext("2d")?.putImageData(new ImageData(pixels, size[0], size[1]), 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(scratch, ...at);
}

export function picturePanel(source: Source, width: number, look: Look): Panel {
  const shape = source.info.map_shape;
  const [rows, columns] = [shape.length > 1 ? shape[shape.length - 2]! : 1, shape[shape.length - 1]!];
  const depth = depthOf(source);
  const slice = depth > 0 ? sliceAt(look.slice, depth) : 0;
  const beside = look.size !== "small" && source.picture !== null && look.map !== null;
  const each = beside ? (width - GAP) / 2 : width;
  const height = Math.max(8, Math.round(Math.min((each * rows) / columns, look.size === "large" ? 420 : look.size === "card" ? 240 : 90)));
  const wide = Math.min(each, (height * columns) / rows);
  const heatLeft = beside ? wide + GAP : 0;
  // Of a volume that is the only input slices lie side by side, of one among others one after the other.
  const alone = depth > 0 && source.columns > 1;
  const stride = alone ? columns * source.columns : columns;
  const base = alone
    ? Math.floor(slice / source.columns) * rows * stride + (slice % source.columns) * columns
    : source.start + slice * rows * columns;
  const indexAt = (row: number, column: number): number => base + row * stride + column;
  const heat = (map: HeatMap): HeatMap =>
    cut(map, Uint32Array.from({ length: rows * columns }, (_, i) => indexAt(Math.floor(i / columns), i % columns)), rows, columns);
  /** A dark line on a light one around a mask, on the input and on its heatmap: seen on any ground. */
  const outline = (context: CanvasRenderingContext2D, mask: Uint8Array): void => {
    const one = Uint8Array.from({ length: rows * columns }, (_, i) => mask[indexAt(Math.floor(i / columns), i % columns)]!);
    const path = outlinePath(one, rows, columns);
    if (path === "") return;
    for (const left of beside ? [0, heatLeft] : [heatLeft]) {
      const scaled = new Path2D();
      scaled.addPath(new Path2D(path), new DOMMatrix([wide / columns, 0, 0, height / rows, left, 0]));
      for (const [colour, line] of [["rgb(255 255 255 / 85%)", 3], ["#10151a", 1.25]] as const) {
        [context.strokeStyle, context.lineWidth] = [colour, line];
        context.stroke(scaled);
      }
    }
  };
  return {
    height,
    paint: (context) => {
      const { picture } = source;
      if (picture !== null && (beside || look.map === null)) {
        const words = paintPicture(picture, false);
        if (depth === 0) wordsTo(context, words, [picture.width, picture.height], [0, 0, wide, height]);
        else {
          // Pictures of volumes are sheets of their slices.
          const across = Math.ceil(Math.sqrt(depth));
          const [h, w] = [picture.height / Math.ceil(depth / across), picture.width / across];
          const [top, left] = [Math.floor(slice / across) * h, (slice % across) * w];
          const one = Uint32Array.from({ length: h * w }, (_, i) => words[(top + Math.floor(i / w)) * picture.width + left + (i % w)]!);
          wordsTo(context, one, [w, h], [0, 0, wide, height]);
        }
      }
      if (look.map !== null) {
        const words = paintHeatMap(heat(look.map), { colours: look.colours, limit: look.limit, gamma: look.gamma, overlay: false });
        wordsTo(context, words, [columns, rows], [heatLeft, 0, wide, height]);
      }
      if (look.outlines) for (const mask of source.marks) outline(context, mask);
    },
    place: (x, y) => {
      const from = x >= heatLeft ? heatLeft : 0;
      const column = Math.floor(((x - from) / wide) * columns);
      const row = Math.floor((y / height) * rows);
      if (column < 0 || column >= columns || row < 0 || row >= rows) return null;
      return { index: indexAt(row, column), description: `${depth > 0 ? `slice ${slice}, ` : ""}row ${row}, column ${column}` };
    },
    description: depth > 0 ? `slice ${slice + 1} of ${depth}` : `picture of ${rows} by ${columns}`,
  };
}
