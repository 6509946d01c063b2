// Keeping up with a run that grows: what to ask for next, and adding the answer to what is there.
import type { RunInfo, RunListing, Timeline } from "./types";

/** The last step known of a run and the session that wrote it: the server answers with `reset` if that does not count any more. */
export interface Since {
  step: number;
  session: string;
}

export type FollowUp = "nothing" | "all" | Since;

/** What to ask for, going by a run's line in the listing: nothing, the steps after the last one known, or all. */
export function followUp(info: RunInfo | null, listing: RunListing): FollowUp {
  const last = info?.steps[info.steps.length - 1];
  if (info === null || info.brief || info.probes.hash !== listing.probes_hash) return "all";
  if (last === undefined) return listing.steps === 0 ? "nothing" : "all";
  const same = info.session === listing.session && last.step === listing.last_step;
  return same && info.steps.length === listing.steps ? "nothing" : { step: last.step, session: last.session };
}

/** A run with the newer steps of `more` added and the rest as in `more`; `more` alone where steps were replaced. */
export function mergeRun(info: RunInfo | null, more: RunInfo): RunInfo {
  if (info === null || more.reset) return more;
  const last = info.steps[info.steps.length - 1]?.step ?? -Infinity;
  const tensors = more.tensors.length >= info.tensors.length ? more.tensors : info.tensors;
  return { ...more, tensors, steps: [...info.steps, ...more.steps.filter((step) => step.step > last)] };
}

/**
 * A timeline with the newer columns of `more` added; a tag that only one of them has is null in the other's part.
 * `more` alone where steps were replaced.
 */
export function mergeTimeline(timeline: Timeline | null, more: Timeline): Timeline {
  if (timeline === null || more.reset) return more;
  const last = timeline.steps[timeline.steps.length - 1] ?? -Infinity;
  const from = more.steps.findIndex((step) => step > last);
  if (from < 0) return timeline;
  const fresh = more.steps.slice(from);
  const join = <Value>(old: Record<string, Value[]>, added: Record<string, Value[]>, empty: Value): Record<string, Value[]> =>
    append(old, added, timeline.steps.length, fresh.length, from, empty);
  return {
    steps: [...timeline.steps, ...fresh],
    scalars: join(timeline.scalars, more.scalars, null),
    probes: join<(number | null)[]>(timeline.probes, more.probes, []),
    ...(more.medians ? { medians: join(timeline.medians ?? {}, more.medians, null) } : {}),
    ...(more.tags ? { tags: [...new Set([...(timeline.tags ?? []), ...more.tags])] } : {}),
    ...(more.columns ? { columns: [...new Set([...(timeline.columns ?? []), ...more.columns])] } : {}),
    ...(more.session === undefined ? {} : { session: more.session }),
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
