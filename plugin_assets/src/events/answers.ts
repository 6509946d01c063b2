// The events of runs: what they are made of is asked for once, and again where a run has logged more.
import { ApiError, fetchLayers, hasServer, json } from "../data/api";
import type { RunState } from "../data/run";
import type { Job } from "../data/loader";
import { logState, timelineJob, type KeptTimeline } from "../data/timelines";
import type { WatchedLayer } from "../data/types";
import { ViewCache } from "../state/cache";
import type { Model } from "../state/model";
import { eventsOf, type RunEvent } from "./detect";
import type { KeptNote } from "./notes";

const PARALLEL = 4;
const BUDGET = 64 << 20;
const PREDICTIONS = { columns: "prediction,predicted_labels/*", of_tensors: "" };

export interface RunEvents {
  state: string;
  events: readonly RunEvent[];
  notes: readonly KeptNote[];
  /** The listing's `annotations` when the notes were asked for. */
  annotations: string | undefined;
  /** Of a run that may log more: what came with it is then asked for no more. */
  timeline: KeptTimeline | undefined;
}

export class EventAnswers extends ViewCache {
  readonly runs = this.loaderOf<RunEvents>(BUDGET, PARALLEL);
}

/** The request for what happened in a run. */
export function eventsJob(model: Pick<Model, "infoOf">, run: RunState): Job<RunEvents> {
  const { listing } = run;
  const state = `${logState(listing)} ${listing.ended} ${listing.annotations}`;
  return {
    key: listing.run,
    state,
    enough: (known) => known.state === state,
    load: async (known) => {
      const [info, timeline, notes] = await Promise.all([
        model.infoOf(run),
        timelineJob(listing, PREDICTIONS).load(known?.timeline),
        known && known.annotations === listing.annotations ? known.notes : fetchNotes(run),
      ]);
      const events = eventsOf(info, timeline.timeline, listing.ended ?? false, await watchedLayers(run, timeline));
      return { state, events, notes, annotations: listing.annotations, timeline: listing.ended ? undefined : timeline };
    },
    bytes: ({ events, timeline }) => 1000 + 200 * events.length + (timeline ? timelineJob(listing, PREDICTIONS).bytes(timeline) : 0),
  };
}

/** An exported page holds no features, and one of an earlier version no notes. */
const leftOut = (error: unknown): [] => {
  if (!hasServer() && error instanceof ApiError && error.status === 404) return [];
  throw error;
};

const fetchNotes = async ({ listing }: RunState): Promise<KeptNote[]> =>
  listing.annotations === "" ? [] : json<{ notes: KeptNote[] }>("notes", { run: listing.run }).then(({ notes }) => notes, leftOut);

/** The watched layers, of a run that has logged features. */
const watchedLayers = async ({ listing }: RunState, { timeline: { scalars } }: KeptTimeline): Promise<readonly WatchedLayer[]> =>
  Object.keys(scalars).some((tag) => tag.startsWith("lrp/features/")) ? fetchLayers(listing.run, logState(listing)).catch(leftOut) : [];
