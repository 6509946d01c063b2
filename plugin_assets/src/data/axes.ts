// What the axis of the curves counts, and the places of the slider that are named.
import { niceTicks, spread } from "./ticks";
import type { RunState } from "./run";

export type AxisName = "logs" | "steps" | "epoch" | "relative" | "wall";

export const AXES: [AxisName, string][] = [
  ["logs", "one place a log, as on the slider"],
  ["steps", "steps, to scale"],
  ["epoch", "epochs"],
  ["relative", "time since the first log"],
  ["wall", "date and time"],
];

/** What the steps of the chosen runs count: "epochs", "batches", or both, which no axis of steps can compare. */
export function stepUnit(runs: readonly RunState[]): "epochs" | "batches" | "mixed" | "steps" {
  const units = new Set(runs.map((run) => run.info?.meta.axis));
  if (units.size > 1) return "mixed";
  const [unit] = units;
  return unit === "epoch" ? "epochs" : unit === "batch" ? "batches" : "steps";
}

/** Places of round steps, where enough of them were logged; else places evenly spread. */
export function roundPlaces(steps: readonly number[], first: number, last: number, most: number): number[] {
  const even = spread(last - first + 1, most).map((i) => first + i);
  const [low, high] = [steps[first] ?? 0, steps[last] ?? 0];
  const places = new Map(steps.map((step, i) => [step, i]));
  const round = niceTicks(low, high, most).flatMap((step) => places.get(step) ?? []).filter((i) => i >= first && i <= last);
  const gap = (last - first) / Math.max(1, most + 1);
  const apart = round.every((place, i) => i === 0 || place - round[i - 1]! >= gap);
  return round.length >= Math.min(3, most) && apart && round[round.length - 1]! - round[0]! > 0.6 * (last - first) ? round : even;
}
