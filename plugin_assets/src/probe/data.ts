// What the large view of one probe needs besides the page's model: its film in pieces, and its own columns over time.
import { json } from "../data/api";
import type { RunState } from "../data/jobs";
import { Loader, type Job } from "../data/loader";
import { indexAtOrBefore } from "../state/steps";
import { mergeTimeline } from "../data/tail";
import type { Timeline } from "../data/types";
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

const sessionOf = (run: RunState): string => run.info?.session ?? "";

/** Of one probe of a set; `changed` is called whenever something has arrived. */
export class ProbeData {
  private readonly films: Loader<FilmFrame[]>;
  private readonly channels: Loader<FilmFrame[]>;
  private readonly timelines = new Map<string, { timeline: Timeline; session: string }>();
  private readonly asked = new Map<string, string>();
  private readonly failures = new Map<string, string>();

  constructor(
    readonly index: number,
    private readonly changed: () => void,
  ) {
    this.films = new Loader(CACHE_BYTES, 3, changed);
    this.channels = new Loader(CACHE_BYTES / 8, 2, changed);
  }

  /** Asks for what is in view: the given steps of the film, and the channels of the steps that the runs show. */
  want(runs: readonly RunState[], steps: readonly number[], shown: readonly (number | null)[]): void {
    const pieces = new Map<string, Job<FilmFrame[]>>();
    for (const step of steps) {
      for (const run of runs) {
        const job = this.pieceJob(run, step);
        if (job) pieces.set(job.key, job);
      }
    }
    this.films.want([...pieces.values()]);
    this.channels.want(runs.flatMap((run, i) => this.channelJob(run, shown[i] ?? null) ?? []));
    for (const run of runs) void this.askTimeline(run);
  }

  private pieceJob(run: RunState, step: number): Job<FilmFrame[]> | null {
    const piece = pieceOf(run.steps, step);
    if (!piece) return null;
    return {
      key: JSON.stringify([run.listing.run, sessionOf(run), piece.steps[0], piece.steps.length]),
      load: () => fetchFilm({ run: run.listing.run, session: sessionOf(run), probe: this.index, steps: piece.steps }),
      bytes: filmBytes,
    };
  }

  private channelJob(run: RunState, step: number | null): Job<FilmFrame[]> | null {
    if (step === null || !run.frame?.header.channels) return null;
    return {
      key: JSON.stringify([run.listing.run, sessionOf(run), step]),
      load: () =>
        fetchFilm({ run: run.listing.run, session: sessionOf(run), probe: this.index, steps: [step], channels: true }),
      bytes: filmBytes,
    };
  }

  /** The probe at a logged step: undefined while it is not there (yet), a text where it cannot be had. */
  frame(run: RunState, step: number): FilmFrame | string | undefined {
    const piece = pieceOf(run.steps, step);
    const job = this.pieceJob(run, step);
    if (!piece || !job) return undefined;
    return this.films.get(job.key)?.[piece.at] ?? this.films.failure(job.key);
  }

  /** The maps by channel of the step that a run shows: null while they load, empty where none were logged. */
  channelsOf(run: RunState, step: number | null): FilmFrame["channels"] | null {
    const job = this.channelJob(run, step);
    return job === null ? [] : (this.channels.get(job.key)?.[0]?.channels ?? null);
  }

  /** The probe's own columns over the logged steps of a run; null until they are there. */
  timeline(run: RunState): Timeline | null {
    return this.timelines.get(run.listing.run)?.timeline ?? null;
  }

  failure(run: RunState): string | null {
    return this.failures.get(run.listing.run) ?? null;
  }

  private async askTimeline(run: RunState): Promise<void> {
    const name = run.listing.run;
    const last = run.steps[run.steps.length - 1];
    const wish = JSON.stringify([sessionOf(run), run.steps.length, last]);
    if (last === undefined || this.asked.get(name) === wish) return;
    this.asked.set(name, wish);
    const known = this.timelines.get(name);
    const at = known?.timeline.steps[known.timeline.steps.length - 1];
    const since = known && at !== undefined ? { since: at, session: known.session } : {};
    try {
      const more = await json<Timeline>("timeline", { run: name, probe: this.index, columns: COLUMNS.join(","), ...since });
      const timeline = mergeTimeline(known?.timeline ?? null, more);
      const end = timeline.steps[timeline.steps.length - 1];
      const session = run.info?.steps.find((step) => step.step === end)?.session ?? sessionOf(run);
      this.timelines.set(name, { timeline, session });
      this.failures.delete(name);
    } catch (error) {
      this.asked.delete(name);
      this.failures.set(name, error instanceof Error ? error.message : String(error));
    }
    this.changed();
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
