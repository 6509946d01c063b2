// What is known of a run: as it was listed, loaded and shown last.
import type { Frame } from "./decode";
import type { HistogramAnswer, RunInfo, RunListing, TensorKind, Timeline } from "./types";

/** Everything known of one run. */
export interface RunState {
  listing: RunListing;
  /** Place of its colour in TensorBoard's palette. */
  order: number;
  /** Which one of the chosen runs of its colour it is, from 0: shown by shape and dashes. */
  pattern: number;
  info: RunInfo | null;
  /** The logged steps of `info`, ascending. */
  steps: readonly number[];
  timeline: Timeline | null;
  /** How far the run was logged when it was asked for. */
  timelineState: string;
  /** The scalars of single tensors that are in it. */
  timelineTensors: readonly string[];
  /** Step -> cluster of each probe, where heatmaps were grouped. */
  clusters: ReadonlyMap<number, number[]>;
  /** The state of the groups when these were asked for; null before. */
  clustersAsked: string | null;
  error: string | null;
  /** What the page shows of it now: the last step that was ready, so that nothing flickers while the next one loads. */
  frame: Frame | null;
  /** What is subtracted from `frame` where a difference is shown. */
  against: Frame | null;
  histograms: Partial<Record<TensorKind, ShownHistogram>>;
}

export interface ShownHistogram {
  step: number;
  tensor: string;
  answer: HistogramAnswer | null;
  /** The reason where there is no histogram. */
  missing: string | null;
  /** The same of the step logged before; null where there is none or it is still loading. */
  ghost: { step: number; answer: HistogramAnswer } | null;
}

/** A run of which the listing alone is known. */
export const freshRun = (listing: RunListing, order: number): RunState => ({
  listing,
  order,
  pattern: 0,
  info: null,
  steps: [],
  timeline: null,
  timelineState: "",
  timelineTensors: [],
  clusters: new Map(),
  clustersAsked: null,
  error: null,
  frame: null,
  against: null,
  histograms: {},
});

/** Names of all tensors of runs, in the order of the model. */
export const tensorNames = (runs: readonly RunState[]): string[] => [
  ...new Set(runs.flatMap((run) => run.info?.tensors.map((tensor) => tensor.name) ?? [])),
];

/** The chosen tensor where it is there; else the first kernel, or whatever is first. */
export const tensorOf = (names: readonly string[], chosen: string | null): string | null =>
  chosen !== null && names.includes(chosen) ? chosen : (names.find((name) => name.endsWith("/kernel")) ?? names[0] ?? null);

export const has = (run: RunState, kind: TensorKind, name: string): boolean =>
  run.info?.tensors.some((tensor) => tensor.kind === kind && tensor.name === name) ?? false;
