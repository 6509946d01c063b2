// Timelines that views have beside the page's own: each asked for once, and then for the steps logged since.
import { json } from "./api";
import type { Job } from "./loader";
import { mergeTimeline } from "./tail";
import type { RunListing, Timeline } from "./types";

/** A timeline as of a state of its run's log. */
export interface KeptTimeline {
  timeline: Timeline;
  state: string;
}

/** How far a run is logged, by its listing: another text when steps were added or replaced. */
export const logState = ({ session, steps, last_step }: RunListing): string => `${session} ${steps} ${last_step}`;

const keyOf = (run: string, parameters: Record<string, string | number>): string => JSON.stringify([run, parameters]);

/** The request for a run's timeline with these parameters, up to the last logged step. */
export function timelineJob(listing: RunListing, parameters: Record<string, string | number>): Job<KeptTimeline> {
  const { run } = listing;
  const state = logState(listing);
  return {
    key: keyOf(run, parameters),
    state,
    enough: (known) => known.state === state,
    load: async (known) => {
      const last = known?.timeline.steps.at(-1);
      const session = known?.timeline.session;
      const since = last !== undefined && session ? { since: last, session } : {};
      const more = await json<Timeline>("timeline", { run, ...parameters, ...since }, "low");
      return { timeline: mergeTimeline(known?.timeline ?? null, more), state };
    },
    bytes: ({ timeline }) => 1000 + 8 * sizeOf(timeline),
  };
}

function sizeOf({ steps, scalars, probes, medians = {} }: Timeline): number {
  const rows = Object.values(probes).flatMap((column) => column.map((values) => values.length));
  return steps.length * (1 + Object.keys(scalars).length + Object.keys(medians).length) + rows.reduce((a, b) => a + b, 0);
}
