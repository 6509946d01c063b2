// What the plugin's routes answer. Everything here comes from disk by way of the server: treat texts as texts only.

/** One line of the run list. `error`: why the run's store cannot be read. */
export interface RunListing {
  run: string;
  name: string;
  session: string | null;
  steps: number;
  last_step: number | null;
  probes_hash: string | null;
  problems: string[];
  /** Digest of the notes and groups beside the records: another one when they have changed, "" without any. */
  annotations?: string;
  /** When the first and the last step were logged: seconds since 1970. */
  first_logged?: number | null;
  last_logged?: number | null;
  /** Whether the fit ended at the last step. */
  ended?: boolean;
  /** Scalars at the last step, where they were asked for. */
  values?: Record<string, number | null>;
  /** What is not finite at the last step: kind -> how much of it. */
  nonfinite?: Record<string, number>;
  error?: string;
}

export interface StepInfo {
  step: number;
  epoch: number;
  batch: number;
  wall_time: number;
  session: string;
  maps: boolean;
  notes: string[];
  /** What is not finite, where anything is: "logits" and "heatmaps" count probes, "weights" and "gradients" values. */
  nonfinite?: Record<string, number>;
}

/** One watched input of the model. */
export interface InputInfo {
  name: string;
  /** "image", "volume", "series", "tokens", "table" or "grid": how a sample is shown. */
  kind: string;
  map_shape: number[];
  /** Channels that its heatmaps are summed over; 1 for none. */
  channels?: number;
  /** Names of a table's features or a series' channels. */
  feature_names: string[] | null;
}

export interface ProbeNames {
  names: string[];
  labels: number[] | null;
  /** The classes of each probe where it may have several, in place of `labels`. */
  label_sets?: number[][];
  /** The place of the output of which a class is explained, for each probe. */
  position?: number[][];
  class_names: string[] | null;
  map_shape: number[];
  image_shape: [number, number, number];
  /** Absent in answers of older servers. */
  inputs?: InputInfo[];
  masks: string[];
  /** How many probes have each mask. */
  carried?: Record<string, number>;
  hash: string;
}

export type TensorKind = "weight" | "gradient";

export interface RunInfo {
  run: string;
  session: string | null;
  meta: Record<string, unknown>;
  steps: StepInfo[];
  probes: ProbeNames;
  tensors: { kind: TensorKind; name: string }[];
  problems: string[];
  /** Logged steps that no longer count: a later session has logged from an earlier step on. */
  replaced?: number;
  /** The largest value over all steps of statistics of each probe, which colours may be scaled by; 0 where there is none. */
  largest?: Record<string, number[]>;
  /** With a question for newer steps: earlier ones have changed, this is the whole run. */
  reset?: boolean;
  /** Without what takes long to read: as if maps were stored at every step, and nothing noted. */
  brief?: boolean;
}

/** Columns over the logged steps; null stands for a value that is not a number. */
export interface Timeline {
  steps: number[];
  scalars: Record<string, (number | null)[]>;
  probes: Record<string, (number | null)[][]>;
  /** The tags of all scalars, those of single tensors too, which are given where they are asked for. */
  tags?: string[];
  /** The names of all statistics per probe. */
  columns?: string[];
  medians?: Record<string, (number | null)[]>;
  /** The session that wrote the last step. */
  session?: string | null;
  reset?: boolean;
}

/** A layer whose channels are watched; lists are over its `steps`. */
export interface WatchedLayer {
  layer: string;
  channels: number;
  classes: number[];
  steps: number[];
  /** Channels that make 90 % of the positive relevance, without any, and that never fired. */
  needed: number[];
  unused: number[];
  dead: number[];
  /** Channels that lead in a class at the end, with the step from which they did. */
  emerged?: { class: number; channel: number; step: number; share: number }[];
  /** Whether reference samples were seen. */
  references: boolean;
}

export interface StepHeader {
  step: number;
  epoch: number;
  batch: number;
  wall_time: number;
  session: string;
  encoding: string;
  map_shape: number[];
  scale: (number | null)[];
  maps: ([number, number] | null)[];
  probes: Record<string, (number | null)[]>;
  scalars: Record<string, number | null>;
  notes: string[];
  gradient_batch: number | null;
  /** Maps by input channel that are stored besides each map. */
  channels: number;
  /** Of an output of maps the predicted class of each place, where it is stored. */
  predicted?: { shape: number[]; type: string; maps: ([number, number] | null)[] };
}

export interface HistogramAnswer {
  size: number;
  zeros: number;
  denormals: number;
  nan: number;
  inf: number;
  minimum: number | null;
  maximum: number | null;
  norm: number | null;
  note: string;
  buckets: number[];
  counts: number[];
}
