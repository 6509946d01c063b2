// Which probes of a set are shown, in which order, and in which groups.
import { classless, unpredicted } from "../data/finite";
import { className } from "../data/format";
import { hasLabels, isAnswerRight, labelsOf } from "../data/labels";
import { nearestIndex } from "../data/steps";
import type { ProbeNames, StepHeader } from "../data/types";
import type { View } from "./view";

export interface ProbeGroup {
  /** Cluster of the probes; null where they are not grouped; -1: without one. */
  cluster: number | null;
  probes: number[];
}

type Choice = Pick<View, "classes" | "answers" | "search" | "sort" | "clusters">;

const column = (header: StepHeader | null | undefined, name: string, index: number): number | null =>
  header?.probes[name]?.[index] ?? null;

/** Whether a run's model answers a probe as labelled at the step of `header`; null where one of both is not known. */
export function isRight(probes: ProbeNames, header: StepHeader | null | undefined, index: number): boolean | null {
  return isAnswerRight(probes, index, (name) => header?.probes[name]?.[index]);
}

/** Orders of the probes a view can ask for, with the labels of the menu. */
export function sortings(probes: ProbeNames): [string, string][] {
  return [
    ["given", "as given"],
    ...probes.masks.map((mask): [string, string] => [`mass:${mask}`, `most relevance in ${mask}`]),
    ["drift", "most changed since last log"],
    ["probability", "least sure first"],
  ];
}

/**
 * The probes to show. `headers` are those of the chosen runs at the shown step. A probe counts as wrong where any of
 * the runs is wrong on it, and stands where the run that is most striking puts it. Probes without a value come last,
 * equal ones as given. `clusters` holds the cluster of each probe, where it is known. `of`: the probe set that the
 * view's classes are numbers of; in another one those of the same names are meant.
 */
export function selectProbes(
  probes: ProbeNames,
  headers: readonly (StepHeader | null)[],
  view: Choice,
  clusters: readonly number[] | null,
  of: ProbeNames = probes,
): ProbeGroup[] {
  const classes = view.classes && new Set(view.classes.map((label) => className(of, label)));
  const wanted = view.search.trim().toLocaleLowerCase();
  let shown = probes.names.map((_, index) => index);
  shown = shown.filter((index) => {
    if (classes && hasLabels(probes) && !labelsOf(probes, index).some((label) => classes.has(className(probes, label)))) return false;
    if (wanted !== "" && !probes.names[index]!.toLocaleLowerCase().includes(wanted)) return false;
    if (view.answers === "all") return true;
    const answers = headers.map((header) => isRight(probes, header, index)).filter((right) => right !== null);
    // Nothing known (yet): hiding it would look like an answer. No prediction is neither right nor wrong.
    if (answers.length === 0) return !headers.some((header) => unpredicted(header, index) || classless(header));
    return answers.every(Boolean) === (view.answers === "right");
  });
  const [name, up] = sortColumn(view.sort);
  if (name !== null) {
    const of = (index: number): number => {
      const values = headers.map((header) => column(header, name, index)).filter((value) => value !== null);
      return Math.min(Infinity, ...values.map((value) => (up ? value : -value)));
    };
    const values = new Map(shown.map((index) => [index, of(index)]));
    shown.sort((a, b) => (values.get(a) === values.get(b) ? a - b : values.get(a)! - values.get(b)!));
  }
  if (!view.clusters || clusters === null) return [{ cluster: null, probes: shown }];
  const groups = new Map<number, number[]>();
  for (const index of shown) {
    const cluster = clusters[index] ?? -1;
    groups.set(cluster, [...(groups.get(cluster) ?? []), index]);
  }
  return [...groups].sort(([a], [b]) => rank(a) - rank(b)).map(([cluster, members]) => ({ cluster, probes: members }));
}

/** Clusters of the step, or of the nearest one that has any; null without. */
export function clustersAt(all: ReadonlyMap<number, number[]>, step: number | null): { step: number; of: number[] } | null {
  const steps = [...all.keys()].sort((a, b) => a - b);
  const at = step === null ? -1 : nearestIndex(steps, step);
  return at < 0 ? null : { step: steps[at]!, of: all.get(steps[at]!)! };
}

const rank = (cluster: number): number => (cluster < 0 ? Infinity : cluster);

function sortColumn(sort: string): [string | null, boolean] {
  if (sort === "drift") return ["drift", false];
  if (sort === "probability") return ["probability", true];
  return sort.startsWith("mass:") ? [`mask_mass/${sort.slice(5)}`, false] : [null, true];
}

/** The limits set in the callback: mask -> largest share of relevance that is still fine. */
export function alertLimits(meta: Record<string, unknown> | undefined): Map<string, number> {
  const out = new Map<string, number>();
  const alerts = meta?.alerts;
  if (typeof alerts !== "object" || alerts === null) return out;
  for (const [mask, limit] of Object.entries(alerts)) if (typeof limit === "number") out.set(mask, limit);
  return out;
}

/** The masks with a limit that cannot be judged at a step: no share was logged with its scalars. */
export const unjudged = (limits: ReadonlyMap<string, number>, scalars: Record<string, number | null> | undefined): string[] =>
  scalars === undefined ? [] : [...limits.keys()].filter((mask) => typeof scalars[`lrp/mask_mass/${mask}`] !== "number");

/** The masks whose share is above its limit, by the values `of` gives. */
export const exceeded = (limits: ReadonlyMap<string, number>, of: (mask: string) => number | null | undefined): string[] =>
  [...limits].filter(([mask, limit]) => (of(mask) ?? -Infinity) > limit).map(([mask]) => mask);
