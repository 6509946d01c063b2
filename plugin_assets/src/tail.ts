// Keeping up with a run that grows: what to ask for next, and adding the answer to what is there.
import type { RunInfo, RunListing, Timeline } from "./types";

export type FollowUp = "nothing" | "all" | { since: number };

/**
 * What a run's listing says is new. A new session may replace steps that were there, and so may fewer steps or another
 * probe set: then everything is read again. Otherwise only the steps after the last one known.
 */
export function followUp(info: RunInfo | null, listing: RunListing): FollowUp {
  if (info === null) return "all";
  const last = info.steps[info.steps.length - 1]?.step ?? null;
  if (info.session !== listing.session || info.probes.hash !== listing.probes_hash) return "all";
  if (last === listing.last_step && info.steps.length === listing.steps) return "nothing";
  if (last === null || listing.last_step === null || listing.last_step <= last) return "all";
  return { since: last };
}

/** A run with the newer steps of `more` added; the rest as `more` tells it. */
export function mergeRun(info: RunInfo, more: RunInfo): RunInfo {
  const last = info.steps[info.steps.length - 1]?.step ?? -Infinity;
  const tensors = more.tensors.length >= info.tensors.length ? more.tensors : info.tensors;
  return { ...more, tensors, steps: [...info.steps, ...more.steps.filter((step) => step.step > last)] };
}

/** A timeline with the newer columns of `more` added; a tag that only one of them has is null in the other's part. */
export function mergeTimeline(timeline: Timeline, more: Timeline): Timeline {
  const last = timeline.steps[timeline.steps.length - 1] ?? -Infinity;
  const from = more.steps.findIndex((step) => step > last);
  if (from < 0) return timeline;
  const fresh = more.steps.slice(from);
  return {
    steps: [...timeline.steps, ...fresh],
    scalars: append(timeline.scalars, more.scalars, timeline.steps.length, fresh.length, from, null),
    probes: append<(number | null)[]>(timeline.probes, more.probes, timeline.steps.length, fresh.length, from, []),
  };
}

function append<Value>(
  old: Record<string, Value[]>,
  more: Record<string, Value[]>,
  before: number,
  added: number,
  from: number,
  empty: Value,
): Record<string, Value[]> {
  const out: Record<string, Value[]> = {};
  for (const tag of new Set([...Object.keys(old), ...Object.keys(more)])) {
    out[tag] = [
      ...(old[tag] ?? new Array<Value>(before).fill(empty)),
      ...(more[tag]?.slice(from) ?? new Array<Value>(added).fill(empty)),
    ];
  }
  return out;
}
