// The requests for a run's steps and histograms, with the keys under which their answers are kept.
import * as api from "./api";
import { holds, joined, type Frame } from "./decode";
import type { Job } from "./loader";
import type { RunState } from "./run";
import type { HistogramAnswer, StepInfo, TensorKind } from "./types";

const NEIGHBOURS = 4;
/** Heatmaps that are asked for at once at most: the server takes as many numbers. */
const MOST_MAPS = 512;

export type Loaded = Frame | HistogramAnswer;

/** Offsets of the steps to load ahead: more of them in the direction of travel. */
export function neighbours(direction: number, playing: boolean): number[] {
  const out: number[] = [];
  for (let i = 1; i <= (playing ? 2 * NEIGHBOURS : NEIGHBOURS); i++) {
    out.push(i * direction);
    if (!playing && i <= NEIGHBOURS / 2) out.push(-i * direction);
  }
  return out;
}

export const frameKey = (run: RunState, step: StepInfo): string => JSON.stringify([run.listing.run, step.session, step.step]);

export const histogramKey = (run: RunState, step: StepInfo, kind: TensorKind, tensor: string): string =>
  JSON.stringify([run.listing.run, step.session, step.step, kind, tensor]);

/** The request for those heatmaps of some probes that are not there yet. */
export const frameJob = (run: RunState, step: StepInfo, probes: readonly number[]): Job<Loaded> => ({
  key: frameKey(run, step),
  load: async (known) => {
    const frame = known as Frame | undefined;
    const missing = probes.filter((probe) => frame?.maps[probe] === undefined).slice(0, MOST_MAPS);
    return joined(frame, await api.fetchStep(run.listing.run, step.step, step.session, missing));
  },
  bytes: (frame) => 2000 + ("bytes" in frame ? frame.bytes : 0),
  enough: (frame) => "maps" in frame && holds(frame, probes),
});

export const histogramJob = (
  run: RunState,
  step: StepInfo,
  kind: TensorKind,
  tensor: string,
): Job<Loaded> => ({
  key: histogramKey(run, step, kind, tensor),
  load: () => api.fetchHistogram(run.listing.run, step.step, step.session, kind, tensor),
  bytes: (answer) => 500 + ("buckets" in answer ? 16 * answer.buckets.length : 0),
  pool: "histograms",
});
