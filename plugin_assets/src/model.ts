// The page's data and its view in one place: polls the run list, loads what the view needs, tells who listens.
import * as api from "./api";
import type { Frame, ProbePictures } from "./decode";
import type { Host } from "./host";
import {
  frameJob,
  frameKey,
  has,
  histogramJob,
  neighbours,
  type Loaded,
  type RunState,
} from "./jobs";
import { Loader, type Job } from "./loader";
import { indexAtOrBefore, nearestIndex, union } from "./steps";
import { followUp, mergeRun, mergeTimeline } from "./tail";
import type { HistogramAnswer, RunListing, StepInfo, TensorKind } from "./types";
import { fromParameters, toParameters, type View } from "./view";

const POLL_SECONDS = 3;
const CACHE_BYTES = 128 << 20;
const PLAY_SECONDS = 0.12;
/** Rest after a move before neighbours are loaded: while the slider is dragged only what is under it counts. */
const REST_SECONDS = 0.06;
export const KINDS: readonly TensorKind[] = ["weight", "gradient"];

export class Model {
  view: View;
  runs: RunState[] | null = null;
  error: string | null = null;
  playing = false;
  private readonly pictures = new Map<string, ProbePictures | "loading" | Error>();
  private readonly loader: Loader<Loaded>;
  private readonly listeners = new Set<() => void>();
  private readonly seen = new Map<string, number>();
  private places: { of: (readonly number[])[]; steps: readonly number[]; indices: Map<number, number> } = {
    of: [],
    steps: [],
    indices: new Map(),
  };
  private pollTimer = 0;
  private polling = false;
  private playTimer = 0;
  private lastDirection = 1;
  private restTimer = 0;
  private resting = true;

  constructor(private readonly host: Host) {
    this.view = fromParameters(host.readParameters());
    this.loader = new Loader<Loaded>(CACHE_BYTES, 4, (key) => {
      if (this.settle() || this.loader.failure(key) !== undefined) this.notify();
    });
  }

  start(): void {
    this.host.onVisible(() => {
      this.host.writeParameters(toParameters(this.view)); // another tab may have dropped ours from the address bar
      void this.poll();
    });
    this.host.onReload(() => void this.poll());
    this.host.onParameters(() => {
      const parameters = this.host.readParameters();
      if (parameters.size) this.setView(fromParameters(parameters));
    });
    void this.poll();
  }

  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  // ---- the view

  setView(change: Partial<View>): void {
    const before = this.currentStep();
    this.view = { ...this.view, ...change };
    const after = this.currentStep();
    if (before !== null && after !== null && after !== before) {
      this.lastDirection = after > before ? 1 : -1;
      this.waitForRest();
    }
    this.host.writeParameters(toParameters(this.view));
    if (change.runs) void this.refreshSelected();
    this.settle();
    this.notify();
  }

  private waitForRest(): void {
    this.resting = this.playing;
    window.clearTimeout(this.restTimer);
    this.restTimer = window.setTimeout(() => {
      this.resting = true;
      if (this.settle()) this.notify();
    }, REST_SECONDS * 1000);
  }

  /** The chosen runs that exist; without a choice the first two readable ones that watch the same probes. */
  selected(): RunState[] {
    const runs = this.runs ?? [];
    const chosen = this.view.runs;
    if (chosen) return runs.filter((run) => chosen.includes(run.listing.run));
    const readable = runs.filter((run) => run.listing.error === undefined && run.listing.steps > 0);
    const first = readable[0];
    return readable.filter((run) => run.listing.probes_hash === first?.listing.probes_hash).slice(0, 2);
  }

  /** All logged steps of the chosen runs: the places of the slider. The same array until they change. */
  steps(): readonly number[] {
    const lists = this.selected().map((run) => run.steps);
    const { of } = this.places;
    if (lists.length !== of.length || lists.some((list, i) => list !== of[i])) {
      const steps = union(lists);
      this.places = { of: lists, steps, indices: new Map(steps.map((step, index) => [step, index])) };
    }
    return this.places.steps;
  }

  /** Place of a step on the slider; -1 where it has none. */
  indexOf(step: number | null): number {
    this.steps();
    return step === null ? -1 : (this.places.indices.get(step) ?? -1);
  }

  /** The step the slider stands at; null while there is none. */
  currentStep(): number | null {
    const steps = this.steps();
    if (steps.length === 0) return null;
    if (this.view.step === "last") return steps[steps.length - 1]!;
    return steps[nearestIndex(steps, this.view.step)]!;
  }

  move(by: number): void {
    const steps = this.steps();
    const current = this.currentStep();
    if (current === null) return;
    const index = Math.min(steps.length - 1, Math.max(0, this.indexOf(current) + by));
    this.setView({ step: steps[index]! });
  }

  /** The logged step a run shows at the slider's step: the last one up to it. */
  stepOf(run: RunState, step: number | null): StepInfo | null {
    if (run.info === null || step === null) return null;
    return run.info.steps[indexAtOrBefore(run.steps, step)] ?? null;
  }

  // ---- playing

  play(): void {
    const steps = this.steps();
    if (steps.length < 2) return;
    if (this.currentStep() === steps[steps.length - 1]) this.setView({ step: steps[0]! });
    this.playing = true;
    this.playOn();
    this.notify();
  }

  pause(): void {
    this.playing = false;
    window.clearTimeout(this.playTimer);
    this.notify();
  }

  private playOn(): void {
    window.clearTimeout(this.playTimer);
    this.playTimer = window.setTimeout(() => {
      const steps = this.steps();
      if (!this.playing) return;
      if (this.currentStep() === steps[steps.length - 1]) this.pause();
      else {
        // A film without its pictures tells nothing: wait for the step that is still loading.
        if (this.selected().every((run) => this.isSettled(run))) this.move(1);
        this.playOn();
      }
    }, PLAY_SECONDS * 1000);
  }

  // ---- what is shown

  picturesOf(run: RunState): ProbePictures | Error | null {
    const found = this.pictures.get(run.info?.probes.hash ?? "");
    return found === undefined || found === "loading" ? null : found;
  }

  /** Whether a run shows the step it should, or says why it cannot. */
  isSettled(run: RunState): boolean {
    const wanted = this.stepOf(run, this.currentStep());
    return wanted === null || run.frame?.header.step === wanted.step || this.frameError(run) !== null;
  }

  frameError(run: RunState): string | null {
    const wanted = this.stepOf(run, this.currentStep());
    return wanted === null ? null : (this.loader.failure(frameKey(run, wanted)) ?? null);
  }

  /** Names of all tensors of the chosen runs, in the order of the model. */
  tensors(): string[] {
    return [...new Set(this.selected().flatMap((run) => run.info?.tensors.map((tensor) => tensor.name) ?? []))];
  }

  tensor(): string | null {
    const names = this.tensors();
    const chosen = this.view.tensor;
    if (chosen !== null && names.includes(chosen)) return chosen;
    return names.find((name) => name.endsWith("/kernel")) ?? names[0] ?? null;
  }

  retry(): void {
    for (const [hash, pictures] of this.pictures) if (pictures instanceof Error) this.pictures.delete(hash);
    this.loader.retry();
    void this.poll();
    this.settle();
    this.notify();
  }

  // ---- loading

  private async poll(): Promise<void> {
    if (this.polling) return;
    this.polling = true;
    window.clearTimeout(this.pollTimer);
    try {
      if (this.host.isVisible()) await this.refresh();
    } finally {
      this.polling = false;
      this.pollTimer = window.setTimeout(() => void this.poll(), POLL_SECONDS * 1000);
    }
  }

  private async refresh(): Promise<void> {
    try {
      const listings = await api.fetchRuns();
      const known = new Map(this.runs?.map((run) => [run.listing.run, run]));
      this.runs = listings.map((listing) => this.stateOf(listing, known.get(listing.run)));
      this.error = null;
    } catch (error) {
      this.error = words(error);
    }
    this.notify();
    await this.refreshSelected();
  }

  private stateOf(listing: RunListing, known: RunState | undefined): RunState {
    if (known) {
      known.listing = listing;
      return known;
    }
    if (!this.seen.has(listing.run)) this.seen.set(listing.run, this.seen.size);
    const order = this.seen.get(listing.run)!;
    return { listing, order, info: null, steps: [], timeline: null, error: null, frame: null, histograms: {} };
  }

  private async refreshSelected(): Promise<void> {
    await Promise.all(this.selected().map((run) => this.refreshRun(run)));
  }

  /** Brings a run's steps and timeline up to its listing, asking only for what is new where that is enough. */
  private async refreshRun(run: RunState): Promise<void> {
    if (run.listing.error !== undefined) return;
    const ask = followUp(run.info, run.listing);
    if (ask === "nothing" && run.timeline && run.error === null) return;
    const since = ask === "nothing" || ask === "all" || run.timeline === null ? null : ask;
    try {
      const info = await api.fetchRun(run.listing.run, since);
      run.info = mergeRun(since && run.info, info);
      run.steps = run.info.steps.map((step) => step.step);
      run.error = null;
      this.loadPictures(run);
      this.settle(); // heatmaps need not wait for the timeline, nor this run for the others
      this.notify();
      run.timeline = mergeTimeline(since && run.timeline, await api.fetchTimeline(run.listing.run, since));
    } catch (error) {
      run.error = words(error);
    }
    this.settle();
    this.notify();
  }

  private loadPictures(run: RunState): void {
    const hash = run.info?.probes.hash;
    if (hash === undefined || this.pictures.has(hash)) return;
    this.pictures.set(hash, "loading");
    api.fetchProbes(run.listing.run, hash).then(
      (pictures) => this.pictures.set(hash, pictures),
      (error: unknown) => this.pictures.set(hash, new Error(words(error))),
    ).finally(() => this.notify());
  }

  /**
   * Takes over what has arrived, asks for what is missing and for the neighbours of the current step. Tells whether
   * anything that is shown has changed: what comes ahead of its time must not cost a drawing of the page.
   */
  private settle(): boolean {
    let changed = false;
    const jobs: Job<Loaded>[] = [];
    const runs = this.selected();
    const step = this.currentStep();
    for (const run of runs) {
      const wanted = this.stepOf(run, step);
      if (wanted === null) continue;
      jobs.push(frameJob(run, wanted));
      const frame = this.loader.get(frameKey(run, wanted)) as Frame | undefined;
      if (frame && frame !== run.frame) {
        run.frame = frame;
        changed = true;
      }
      for (const kind of KINDS) changed = this.settleHistogram(run, wanted, kind, jobs) || changed;
    }
    const steps = this.steps();
    const at = this.indexOf(step);
    for (const offset of this.resting ? neighbours(this.lastDirection, this.playing) : []) {
      const neighbour = steps[at + offset];
      if (at < 0 || neighbour === undefined) continue;
      for (const run of runs) {
        const info = this.stepOf(run, neighbour);
        if (info === null) continue;
        jobs.push(frameJob(run, info));
        for (const kind of KINDS) jobs.push(...this.histogramJobs(run, info, kind));
      }
    }
    this.loader.want(jobs);
    return changed;
  }

  private settleHistogram(run: RunState, step: StepInfo, kind: TensorKind, jobs: Job<Loaded>[]): boolean {
    const tensor = this.tensor();
    if (tensor === null) return false;
    const before = run.histograms[kind];
    const show = (answer: HistogramAnswer | null, missing: string | null): void => {
      if (before?.step === step.step && before.tensor === tensor && before.answer === answer && before.missing === missing) {
        return;
      }
      run.histograms[kind] = { step: step.step, tensor, answer, missing };
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

  /** The request for a histogram, where there can be one: a step says itself whether gradients were logged with it. */
  private histogramJobs(run: RunState, step: StepInfo, kind: TensorKind): Job<Loaded>[] {
    const tensor = this.tensor();
    if (tensor === null || !has(run, kind, tensor)) return [];
    const header = (this.loader.get(frameKey(run, step)) as Frame | undefined)?.header;
    if (kind === "gradient" && (header?.gradient_batch ?? null) === null) return [];
    return [histogramJob(run, step, kind, tensor)];
  }

  private notify(): void {
    for (const listener of this.listeners) listener();
  }
}

function words(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
