// The inputs of a probe set as the page draws them: what each is, and its place in a heatmap of all.
import type { HeatMap, Picture, ProbePictures } from "./decode";
import type { InputInfo, ProbeNames } from "./types";

/** One input of one probe. */
export interface Source {
  info: InputInfo;
  /** Where its values begin in the heatmap of all inputs. */
  start: number;
  /** Of a volume that is the only input: its slices lie side by side, in so many columns. */
  columns: number;
  values: Float32Array | null;
  tokens: readonly string[] | null;
  picture: Picture | null;
  /** The probe's masks over the heatmap of all inputs. */
  marks: readonly Uint8Array[];
}

const PICTURES = new Set(["image", "grid"]);

/** Whether a probe is one picture and nothing else, as all are in runs from before inputs were kept. */
export const isPicture = (probes: ProbeNames): boolean => {
  const inputs = probes.inputs ?? [];
  return inputs.length === 0 || (inputs.length === 1 && PICTURES.has(inputs[0]!.kind));
};

export const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

const kept = new WeakMap<ProbePictures, Map<number, readonly Source[]>>();

/** The inputs of a probe, in the order of its heatmap. The same array as long as the pictures. */
export function sourcesOf(probes: ProbeNames, pictures: ProbePictures | null, index: number): readonly Source[] {
  if (pictures === null) return [];
  let known = kept.get(pictures);
  if (!known) kept.set(pictures, (known = new Map()));
  let found = known.get(index);
  if (!found) known.set(index, (found = make(probes, pictures, index)));
  return found;
}

function make(probes: ProbeNames, pictures: ProbePictures, index: number): Source[] {
  const inputs = probes.inputs ?? [];
  const marks = [...pictures.masks.values()].flatMap((masks) => masks[index] ?? []);
  let start = 0;
  return inputs.map((info, place) => {
    const { values, tokens, pictures: own } = pictures.inputs[place] ?? { values: null, tokens: null, pictures: null };
    const size = sizeOf(info.map_shape);
    const depth = sizeOf(info.map_shape.slice(0, -2));
    const alone = inputs.length === 1;
    const source: Source = {
      info,
      start,
      columns: alone && info.kind === "volume" ? Math.ceil(Math.sqrt(depth)) : 1,
      values: values?.[index] ?? null,
      tokens: tokens?.[index] ?? null,
      picture: own?.[index] ?? (alone ? (pictures.pictures[index] ?? null) : null),
      marks,
    };
    start += size;
    return source;
  });
}

/** The picture that a map of classes is drawn over: the probe itself, or the first of its inputs that is one. */
export const groundOf = (picture: Picture | null, sources: readonly Source[] | null): Picture | null =>
  sources === null ? picture : (sources.find((source) => source.picture)?.picture ?? null);

/** How many slices a volume has; 0 for what is none. */
export const depthOf = ({ info }: Pick<Source, "info">): number => (info.kind === "volume" ? sizeOf(info.map_shape.slice(0, -2)) : 0);

/** The slice that a share of a volume's depth falls on. */
export const sliceAt = (share: number, depth: number): number => Math.min(depth - 1, Math.max(0, Math.round(share * (depth - 1))));

/** The slices of the deepest volume among the inputs; 0 where there is none. */
export const slicesOf = (probes: ProbeNames): number => Math.max(0, ...(probes.inputs ?? []).map((info) => depthOf({ info })));

/** A part of a map as one of its own. */
export function cut(map: HeatMap, places: ArrayLike<number>, height: number, width: number): HeatMap {
  const data = map.kind === "sqrt8" ? new Int8Array(places.length) : new Float32Array(places.length);
  for (let i = 0; i < places.length; i++) data[i] = map.data[places[i]!]!;
  return { kind: map.kind, data, absmax: map.absmax, height, width } as HeatMap;
}
