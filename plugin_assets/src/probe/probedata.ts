// What the large view of one probe needs besides the page's model: its film in pieces, and its own columns over time.
import { useMemo } from "preact/hooks";
import type { RunState } from "../data/run";
import type { Job } from "../data/loader";
import { timelineJob, type KeptTimeline } from "../data/timelines";
import type { Timeline } from "../data/types";
import { ViewCache } from "../state/cache";
import type { Model } from "../state/model";
import { indexAtOrBefore } from "../data/steps";
import { useCache } from "../ui/hooks";
import { fetchFilm, filmBytes, type FilmFrame } from "./film";

const PIECE = 24;
const CACHE_BYTES = 96 << 20;
const COLUMNS = ["target", "prediction", "probability", "output", "label_accuracy", "logit", "prediction_probability", "right", "predicted_labels/*", "conservation", "mask_mass/*", "mask_absolute/*", "layer/*"];

/** The steps of a run that are fetched together, and where among them one stands. */
export function pieceOf(steps: readonly number[], step: number): { steps: readonly number[]; at: number } | null {
  const index = indexAtOrBefore(steps, step);
  if (index < 0 || steps[index] !== step) return null;
  const first = index - (index % PIECE);
  return { steps: steps.slice(first, first + PIECE), at: index - first };
}

class ProbeAnswers extends ViewCache {
  readonly films = this.loaderOf<FilmFrame[]>(CACHE_BYTES, 3);
  readonly channels = this.loaderOf<FilmFrame[]>(CACHE_BYTES / 8, 2);
  readonly timelines = this.loaderOf<KeptTimeline>(CACHE_BYTES / 8, 3);
}

/** What is loaded of one probe of a set. */
export const useProbeData = (model: Model, index: number): ProbeData => {
  const answers = useCache(model, ProbeAnswers);
  return useMemo(() => new ProbeData(answers, index), [answers, index]);
};

/** Of one probe of the sets of runs: runs that are opened together have the same set. */
export class ProbeData {
  constructor(
    private readonly answers: ProbeAnswers,
    readonly index: number,
  ) {}

  /** Asks for what is in view: the given steps of the film, and the channels of the steps that the runs show. */
  want(runs: readonly RunState[], steps: readonly number[], shown: readonly (number | null)[]): void {
    const pieces = new Map<string, Job<FilmFrame[]>>();
    for (const step of steps) {
      for (const run of runs) {
        const job = this.pieceJob(run, step);
        if (job) pieces.set(job.key, job);
      }
    }
    this.answers.films.want([...pieces.values()]);
    this.answers.channels.want(runs.flatMap((run, i) => this.channelJob(run, shown[i] ?? null) ?? []));
    this.answers.timelines.want(runs.map((run) => this.timelineJob(run)));
  }

  private pieceJob(run: RunState, step: number): Job<FilmFrame[]> | null {
    const piece = pieceOf(run.steps, step);
    return piece && this.filmJob(run, piece.steps, false);
  }

  private channelJob(run: RunState, step: number | null): Job<FilmFrame[]> | null {
    return step === null || !run.frame?.header.channels ? null : this.filmJob(run, [step], true);
  }

  private filmJob(run: RunState, steps: readonly number[], channels: boolean): Job<FilmFrame[]> {
    const asked = { run: run.listing.run, session: run.info?.session ?? "", probe: this.index, steps, channels };
    return { key: JSON.stringify([asked.run, asked.session, this.index, steps[0], steps.length, channels]), load: () => fetchFilm(asked), bytes: filmBytes };
  }

  /** The probe at a logged step: undefined while it is not there (yet), a text where it cannot be had. */
  frame(run: RunState, step: number): FilmFrame | string | undefined {
    const piece = pieceOf(run.steps, step);
    const job = this.pieceJob(run, step);
    if (!piece || !job) return undefined;
    return this.answers.films.get(job.key)?.[piece.at] ?? this.answers.films.failure(job.key);
  }

  /** The maps by channel of the step that a run shows: null while they load, empty where none were logged. */
  channelsOf(run: RunState, step: number | null): FilmFrame["channels"] | null {
    const job = this.channelJob(run, step);
    return job === null ? [] : (this.answers.channels.get(job.key)?.[0]?.channels ?? null);
  }

  private timelineJob(run: RunState): Job<KeptTimeline> {
    return timelineJob(run.listing, { probe: this.index, columns: COLUMNS.join(",") });
  }

  /** The probe's own columns over the logged steps of a run; null until they are there. */
  timeline(run: RunState): Timeline | null {
    return this.answers.timelines.get(this.timelineJob(run).key)?.timeline ?? null;
  }

  failure(run: RunState): string | null {
    return this.answers.timelines.failure(this.timelineJob(run).key) ?? null;
  }
}

/** The columns of a probe at a step; nothing where it was not logged. */
export const columnsAt =
  (timeline: Timeline | null, step: number): ((name: string) => number | null | undefined) =>
  (name) =>
    timeline?.probes[name]?.[timeline.steps.indexOf(step)]?.[0];

const columns = new WeakMap<Timeline, Map<string, (number | null)[]>>();

/** One column of a probe over the logged steps: null where it has no value. The same array as long as the timeline. */
export function column(timeline: Timeline | null, name: string): readonly (number | null)[] {
  if (timeline === null) return [];
  let known = columns.get(timeline);
  if (!known) columns.set(timeline, (known = new Map()));
  let found = known.get(name);
  if (!found) known.set(name, (found = (timeline.probes[name] ?? []).map((values) => values[0] ?? null)));
  return found;
}
