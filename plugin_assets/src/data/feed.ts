// Decides what to load for what is on the page, most urgent first, and hands over what has arrived.
import { holds, type Frame } from "./decode";
import { frameJob, frameKey, histogramJob, type Loaded } from "./jobs";
import { has, type RunState, type ShownHistogram } from "./run";
import { Loader, type Job } from "./loader";
import { indexAtOrBefore } from "./steps";
import type { HistogramAnswer, StepInfo, TensorKind } from "./types";

const CACHE_BYTES = 48 << 20;
const LEAST_AHEAD = 2;
const PARALLEL = 6;
/** Of more runs no histograms are loaded ahead. */
const MOST_HISTOGRAM_RUNS = 4;
/** Of more runs than this outlines alone are drawn: areas and earlier steps one over the other cannot be distinguished. */
export const MANY_RUNS = 3;
export const KINDS: readonly TensorKind[] = ["weight", "gradient"];

/** What heatmaps are a difference to: the same run at a step, or another run at the slider's step. */
export type Minus = { step: number } | { run: string };

/** Places of the probes of a set whose heatmaps are on the screen, and of those just beyond it. */
export interface Seen {
  shown: readonly number[];
  near: readonly number[];
}

/** What the page shows now. */
export interface Scene {
  runs: readonly RunState[];
  /** Which probes of a run; null while that is not known. */
  seen: (run: RunState) => Seen | null;
  /** Whether there is time for what is not on the screen. */
  idle: boolean;
  /** Whether the first heatmaps have been shown: nothing else is asked for before. */
  begun: boolean;
  /** Whether a run that shows another step goes on doing so until all have the heatmaps of the slider's. */
  together: boolean;
  /** All places of the slider, where it stands, and the offsets of the places to load ahead. */
  steps: readonly number[];
  at: number;
  ahead: readonly number[];
  tensor: string | null;
  minus: Minus | null;
  /** Steps whose heatmaps, and whose histograms, are shown all at once. */
  film: readonly number[];
  ridge: readonly number[];
}

/** The logged step a run shows at a step of the slider: the last one up to it. */
export const stepOf = (run: RunState, step: number | null): StepInfo | null =>
  run.info?.steps[indexAtOrBefore(run.steps, step)] ?? null;

/** Whether gradients were logged at a step, by the run's scalars; null where that is not known (yet). */
export function gradientsLogged(run: Pick<RunState, "timeline">, step: number): boolean | null {
  const { timeline } = run;
  const norms = timeline?.scalars["gradients/norm"] ?? timeline?.scalars["probe_gradients/norm"];
  const at = timeline ? indexAtOrBefore(timeline.steps, step) : -1;
  if (!norms || timeline!.steps[at] !== step) return null;
  return typeof norms[at] === "number" ? true : null;
}

export class Feed {
  private readonly loader: Loader<Loaded>;
  /** Keys of what is shown beside the slider's own step. */
  private extra = new Set<string>();
  private scene: Scene | null = null;

  /** `changed` is called when something arrived that is on the page. */
  constructor(changed: () => void) {
    this.loader = new Loader<Loaded>(CACHE_BYTES, PARALLEL, (key) => {
      const shown = this.scene !== null && this.settle(this.scene);
      if (shown || this.extra.has(key) || this.loader.failure(key) !== undefined) changed();
    });
  }

  frame(run: RunState, step: StepInfo | null): Frame | null {
    return step === null ? null : ((this.loader.get(frameKey(run, step)) as Frame | undefined) ?? null);
  }

  /** Why the heatmaps of a step could not be loaded; null where they could, or may still be. */
  frameError(run: RunState, step: StepInfo | null): string | null {
    return step === null ? null : (this.loader.failure(frameKey(run, step)) ?? null);
  }

  /** A histogram of a step that is among the scene's; null where there is none (yet). */
  histogram(run: RunState, step: number, kind: TensorKind): HistogramAnswer | null {
    const info = stepOf(run, step);
    const job = info && this.histogramJobs(run, info, kind)[0];
    return job ? ((this.loader.get(job.key) as HistogramAnswer | undefined) ?? null) : null;
  }

  retry(): void {
    this.loader.retry();
  }

  /** Takes over what has arrived and asks for what is missing. Returns whether anything that is shown has changed. */
  settle(scene: Scene): boolean {
    this.scene = scene;
    let changed = false;
    const jobs: Job<Loaded>[] = [];
    const extra = new Set<string>();
    const step = scene.steps[scene.at] ?? null;
    const more = (job: Job<Loaded>): void => {
      extra.add(job.key);
      jobs.push(job);
    };
    const come: [RunState, Frame][] = [];
    let waiting = false;
    for (const run of scene.runs) {
      const wanted = stepOf(run, step);
      const seen = scene.seen(run);
      if (wanted === null || seen === null) continue;
      jobs.push(frameJob(run, wanted, seen.shown));
      const frame = this.frame(run, wanted);
      if (frame && holds(frame, seen.shown)) come.push([run, frame]);
      else if (this.frameError(run, wanted) === null) waiting = true;
    }
    for (const [run, frame] of come) {
      const later = waiting && scene.together && run.frame !== null && run.frame.header.step !== frame.header.step;
      if (frame === run.frame || later) continue;
      run.frame = frame;
      changed = true;
    }
    for (const run of scene.runs) changed = this.settleAgainst(scene, run, step, more) || changed;
    // The first heatmaps of all runs go before any histogram: browsers open few connections.
    for (const run of scene.begun ? scene.runs : []) {
      const wanted = stepOf(run, step);
      if (wanted === null) continue;
      for (const kind of KINDS) changed = this.settleHistogram(run, wanted, kind, jobs) || changed;
    }
    for (const run of scene.runs) {
      for (const film of scene.film) {
        const info = stepOf(run, film);
        const seen = scene.seen(run);
        if (info && seen) more(frameJob(run, info, seen.shown));
      }
      for (const ridge of scene.ridge) {
        const info = stepOf(run, ridge);
        if (info) for (const kind of KINDS) this.histogramJobs(run, info, kind).forEach(more);
      }
    }
    if (scene.idle) this.addNear(scene, step, more);
    this.addAhead(scene, jobs);
    this.extra = extra;
    this.loader.want(jobs);
    return changed;
  }

  /** Heatmaps that are seen when the page is scrolled a little. */
  private addNear(scene: Scene, step: number | null, more: (job: Job<Loaded>) => void): void {
    for (const run of scene.runs) {
      const seen = scene.seen(run);
      for (const each of [step, ...scene.film]) {
        const info = stepOf(run, each);
        if (info && seen) more(frameJob(run, info, seen.near));
      }
      const against = this.against(scene, run, step);
      if (against && seen) more(frameJob(against.run, against.step, seen.near));
    }
  }

  private addAhead(scene: Scene, jobs: Job<Loaded>[]): void {
    // Of large heatmaps, or of many runs, no more than are kept: those that follow first.
    const each = scene.runs.reduce((sum, { frame }) => sum + (frame?.bytes ?? 0), 0);
    const most = Math.max(LEAST_AHEAD, Math.floor(CACHE_BYTES / Math.max(1, each)) - 1);
    for (const offset of scene.ahead.slice(0, most)) {
      const neighbour = scene.steps[scene.at + offset];
      if (scene.at < 0 || neighbour === undefined) continue;
      for (const run of scene.runs) {
        const info = stepOf(run, neighbour);
        const seen = scene.seen(run);
        if (info === null || seen === null) continue;
        if (seen.shown.length) jobs.push(frameJob(run, info, seen.shown));
        // Of many runs these are as many requests, of little that is looked at while the slider moves.
        if (scene.runs.length <= MOST_HISTOGRAM_RUNS) for (const kind of KINDS) jobs.push(...this.histogramJobs(run, info, kind));
      }
    }
  }

  /** The frame that is subtracted. */
  private settleAgainst(scene: Scene, run: RunState, step: number | null, more: (job: Job<Loaded>) => void): boolean {
    const found = this.against(scene, run, step);
    const seen = scene.seen(run);
    if (found && seen) more(frameJob(found.run, found.step, seen.shown));
    const against = found && this.frame(found.run, found.step);
    if (against === run.against) return false;
    run.against = against;
    return true;
  }

  /** What is subtracted: the same run at the pinned step, or the other run at the slider's step. */
  private against({ minus, runs }: Scene, run: RunState, step: number | null): { run: RunState; step: StepInfo } | null {
    if (minus === null) return null;
    const other = "step" in minus ? run : runs.find((candidate) => candidate.listing.run === minus.run);
    const info = other && other.info?.probes.hash === run.info?.probes.hash ? stepOf(other, "step" in minus ? minus.step : step) : null;
    return other && info ? { run: other, step: info } : null;
  }

  private settleHistogram(run: RunState, step: StepInfo, kind: TensorKind, jobs: Job<Loaded>[]): boolean {
    const tensor = this.scene?.tensor ?? null;
    if (tensor === null) return false;
    const before = run.histograms[kind];
    const show = (answer: HistogramAnswer | null, missing: string | null): void => {
      const ghost = this.ghost(run, step, kind, jobs);
      const same = before?.step === step.step && before.tensor === tensor;
      if (same && before.answer === answer && before.missing === missing && before.ghost?.answer === ghost?.answer) return;
      run.histograms[kind] = { step: step.step, tensor, answer, missing, ghost };
    };
    const wanted = this.histogramJobs(run, step, kind);
    jobs.push(...wanted);
    const key = wanted[0]?.key;
    if (key !== undefined) {
      const answer = this.loader.get(key) as HistogramAnswer | undefined;
      const failure = this.loader.failure(key);
      if (answer) show(answer, answer.note || null);
      else if (failure !== undefined) show(null, failure);
    } else if (kind === "gradient" && step.batch === 0) show(null, "No training step yet.");
    else if (!has(run, kind, tensor)) show(null, "Not logged in this run.");
    else if (run.frame?.header.step === step.step) show(null, "No gradients were logged at this step.");
    return run.histograms[kind] !== before;
  }

  /** The histogram of the step logged before this one, which is drawn behind it where few runs are chosen. */
  private ghost(run: RunState, step: StepInfo, kind: TensorKind, jobs: Job<Loaded>[]): ShownHistogram["ghost"] {
    const previous = run.info?.steps[indexAtOrBefore(run.steps, step.step) - 1];
    if (!previous || (this.scene?.runs.length ?? 0) > MANY_RUNS) return null;
    const job = this.histogramJobs(run, previous, kind)[0];
    if (!job) return null;
    jobs.push(job);
    const answer = this.loader.get(job.key) as HistogramAnswer | undefined;
    return answer ? { step: previous.step, answer } : null;
  }

  /** The request for a histogram, where there can be one: a step's header has whether gradients were logged with it. */
  private histogramJobs(run: RunState, step: StepInfo, kind: TensorKind): Job<Loaded>[] {
    const tensor = this.scene?.tensor ?? null;
    if (tensor === null || !has(run, kind, tensor)) return [];
    if (kind === "gradient") {
      if (step.batch === 0) return [];
      // Where gradients are not known to be logged none are asked for: that would end in an error if none were logged.
      const logged = gradientsLogged(run, step.step) ?? (this.frame(run, step)?.header.gradient_batch ?? null) !== null;
      if (!logged) return [];
    }
    return [histogramJob(run, step, kind, tensor)];
  }
}
