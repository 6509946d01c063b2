// What probes are labelled as, and what a model answers: a class, or a set of them.
import { className, predictionName } from "./format";
import type { ClassMap, ProbePictures } from "./decode";
import type { ProbeNames } from "./types";

/** A probe's value of a column: null where it has none, undefined where the column was not logged. */
export type Column = (name: string) => number | null | undefined;

const BITS = 32;

export const hasLabels = (probes: ProbeNames): boolean => probes.labels !== null || (probes.label_sets ?? null) !== null;

/** The classes that a probe is labelled as; empty without labels. */
export const labelsOf = (probes: ProbeNames, index: number): readonly number[] => {
  const label = probes.labels?.[index];
  return label !== undefined ? [label] : (probes.label_sets?.[index] ?? []);
};

const setText = (probes: ProbeNames, set: readonly number[]): string => (set.length === 0 ? "none" : set.map((label) => className(probes, label)).join(", "));

/** The names of a probe's labels as text; null without labels. */
export const labelText = (probes: ProbeNames, index: number): string | null =>
  hasLabels(probes) ? setText(probes, labelsOf(probes, index)) : null;

/** The labels of all places that are shown; null where one of many tokens or times is explained: its label is the probe's. */
export const labelMapOf = (probes: ProbeNames, pictures: ProbePictures | null, index: number): ClassMap | null => {
  const map = pictures?.labels?.[index] ?? null;
  return map !== null && map.shape.length === 1 && (probes.position ?? null) !== null ? null : map;
};

/** The labels that are predicted where probes have sets of them: null for none because of logits, undefined without. */
export function predictedSet(of: Column): number[] | null | undefined {
  const set: number[] = [];
  for (let column = 0; ; column++) {
    const value = of(`predicted_labels/${column}`);
    if (value === undefined) return column === 0 ? undefined : set;
    if (value === null) return null;
    for (let bit = 0; bit < BITS; bit++) if ((value >>> bit) & 1) set.push(BITS * column + bit);
  }
}

/** What a model predicts for a probe as text: the name of a class, of several, or "none". */
export function answerText(probes: ProbeNames, of: Column): string {
  const set = predictedSet(of);
  return set === undefined ? predictionName(probes, of("prediction")) : setText(probes, set ?? []);
}

/** Whether an answer is the probe's label, or exactly its labels; null where one of both is not known. */
export function isAnswerRight(probes: ProbeNames, index: number, of: Column): boolean | null {
  if (probes.label_sets) {
    const right = of("right");
    return typeof right === "number" ? right === 1 : null;
  }
  const predicted = of("prediction");
  return probes.labels === null || typeof predicted !== "number" ? null : predicted === probes.labels[index];
}
