// The colours of a probe's maps in its large view: those that the page's controls choose.
import { paintHeatMap } from "../paint/colormap";
import type { HeatMap } from "../data/decode";
import type { RunState } from "../data/jobs";
import { colourLimit } from "../data/limits";
import type { Model } from "../state/model";

/** RGBA words of a map as the filmstrip and the exports show it: never over the input. */
export function paintMap(model: Model, run: RunState, index: number, map: HeatMap): Uint32Array {
  const { view } = model;
  const timelines = model.selected().map((other) => other.timeline);
  const limit = colourLimit(view, map, run.timeline, index, timelines);
  return paintHeatMap(map, { colours: view.colours, limit, gamma: Number(view.gamma), overlay: false });
}

/** What a map's colours depend on besides the map. */
export const paintKey = (model: Model): unknown[] => {
  const { view } = model;
  const over = view.scale === "map" ? [] : model.selected().map((run) => run.timeline);
  return [view.scale, view.clip, view.gamma, view.colours, over.length, ...over];
};

/** Maps of the channels of one step, all to the scale of the largest: their shares of the sum can be compared. */
export function paintChannels(model: Model, channels: readonly HeatMap[]): Uint32Array[] {
  const { colours, gamma } = model.view;
  const limit = channels.reduce((largest, map) => Math.max(largest, map.absmax), 0);
  return channels.map((map) => paintHeatMap(map, { colours, limit, gamma: Number(gamma), overlay: false }));
}
