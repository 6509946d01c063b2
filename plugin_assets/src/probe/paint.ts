// The colours of a probe's maps in its large view: those that the page's controls choose.
import { paintClasses, sliceOf } from "../paint/classes";
import { paintHeatMap, paintPicture } from "../paint/colormap";
import type { ClassMap, HeatMap, Picture } from "../data/decode";
import type { RunState } from "../data/run";
import { colourLimit } from "../state/limits";
import { pageColours, paintPanel } from "../kinds/KindCanvas";
import type { Look } from "../kinds/panel";
import { probePanel } from "../kinds/drawing";
import type { Source } from "../data/source";
import type { Model } from "../state/model";
import { put } from "../ui/canvases";

const limitOf = (model: Model, run: RunState, index: number, map: HeatMap): number =>
  colourLimit(model.view, map, run.info?.largest, index, model.selected().map((other) => other.info?.largest));

/** RGBA words of a map as the filmstrip and the exports show it: never over the input. */
export function paintMap(model: Model, run: RunState, index: number, map: HeatMap): Uint32Array {
  const { view } = model;
  const limit = limitOf(model, run, index, map);
  return paintHeatMap(map, { colours: view.colours, limit, gamma: Number(view.gamma), overlay: false });
}

/** How a panel of a run's map is drawn by the page's controls; `ground`: "page" in its colours, "paper" black on white. */
export function lookOf(model: Model, run: RunState, index: number, map: HeatMap | null, size: Look["size"], ground: "page" | "paper"): Look {
  const { view } = model;
  const limit = map === null ? 0 : limitOf(model, run, index, map);
  const { colours, features, slice, outlines } = view;
  const theme = ground === "page" ? pageColours(document.documentElement) : { ink: "#1d2126", faint: "#5f6368", ground: "#ffffff" };
  return { map, limit, colours, gamma: Number(view.gamma), size, order: features, slice, outlines, zoom: null, ...theme };
}

/** A probe's inputs in a box of so many CSS pixels. */
export function paintThumb(
  canvas: HTMLCanvasElement,
  model: Model,
  run: RunState,
  index: number,
  map: HeatMap,
  sources: readonly Source[],
  width: number,
  height: number,
): void {
  const panel = probePanel(sources, width, lookOf(model, run, index, map, "small", "page"));
  paintPanel(canvas, { ...panel, height }, width);
}

/** A map of classes, of a volume one slice of it, over its grey picture: in the pixels of whichever has more. */
export function paintClassesOver(canvas: HTMLCanvasElement, whole: ClassMap, sheet: Picture | null, share: number): void {
  const map = sliceOf(whole, whole.depth, share);
  const picture = map.height > 1 && sheet !== null ? sliceOf(sheet, whole.depth, share) : null;
  const [height, width] = [Math.max(map.height, picture?.height ?? 0), Math.max(map.width, picture?.width ?? 0)];
  canvas.height = height;
  canvas.width = width;
  const context = canvas.getContext("2d");
  if (!context) throw new Error("this browser gives no 2D canvas");
  context.imageSmoothingEnabled = false;
  const layers: [Uint32Array, number, number][] = [[paintClasses(map), map.height, map.width]];
  if (picture) layers.unshift([paintPicture(picture, true), picture.height, picture.width]);
  for (const [words, rows, columns] of layers) {
    const layer = document.createElement("canvas");
    put(layer, words, rows, columns);
    context.drawImage(layer, 0, 0, width, height);
  }
}

/** What a map's colours depend on besides the map. */
export const paintKey = (model: Model): unknown[] => {
  const { view } = model;
  const over = view.scale === "map" ? [] : model.selected().map((run) => run.timeline);
  return [view.scale, view.clip, view.gamma, view.colours, over.length, ...over];
};

/** A map of a channel of one step, or a part of it, to the scale of the largest: their shares of the sum can be compared. */
export function paintChannel(model: Model, channels: readonly HeatMap[], map: HeatMap): Uint32Array {
  const { colours, gamma } = model.view;
  const limit = channels.reduce((largest, one) => Math.max(largest, one.absmax), 0);
  return paintHeatMap(map, { colours, limit, gamma: Number(gamma), overlay: false });
}
