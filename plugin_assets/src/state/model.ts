// The page's data and its view in one place: polls the run list, loads what the view needs, notifies listeners.
import { Address } from "./address";
import * as api from "../data/api";
import type { ViewCache } from "./cache";
import { spread } from "../paint/axis";
import { holds, type Frame, type ProbePictures } from "../data/decode";
import { Feed, stepOf, type Scene, type Seen } from "../data/feed";
import { Choice } from "./names";
import type { Host } from "./host";
import { freshRun, neighbours, tensorNames, tensorOf, type RunState } from "../data/jobs";
import { InView } from "./inview";
import { RunOrder, assignPatterns } from "./order";
import { Pictures } from "../data/pictures";
import { Places } from "./places";
import { Player } from "./player";
import { Rest } from "./rest";
import { nearestIndex } from "./steps";
import { ofTensor } from "../data/format";
import { errorText, Refresher } from "../data/refresh";
import type { HistogramAnswer, RunInfo, RunListing, StepInfo, TensorKind } from "../data/types";
import { fromParameters, toParameters, waitsForRest, type OpenProbe, type View } from "./view";

const POLL_SECONDS = 3;
const GATHER_SECONDS = 0.1;
/** Curves wait for heatmaps at most this long. */
const LATE_SECONDS = 2;
const FILM_FRAMES = 12;

export class Model {
  view: View;
  runs: RunState[] | null = null;
  error: string | null = null;
  /** The probe whose large view the latest change has closed: its card takes the focus back. */
  closed: OpenProbe | null = null;
  private readonly pictures = new Pictures(() => this.notify());
  private readonly feed: Feed;
  private readonly player: Player;
  private readonly rest: Rest;
  private readonly listeners = new Set<() => void>();
  private readonly address: Address;
  private readonly order = new RunOrder();
  private readonly refresher = new Refresher(() => this.firstShown(), () => {
    this.settle();
    // The runs that are chosen come one by one: they are drawn together.
    if (this.isKnown()) this.notify();
    else this.gather();
  });
  private readonly places = new Places();
  private readonly inView = new InView();
  private pollTimer = 0;
  private polling: Promise<void> | null = null;
  private lastDirection = 1;
  private ridge: readonly number[] = [];
  private notifying = false;
  private readonly choice = new Choice<RunState>();
  private readonly caches = new Map<new () => ViewCache, ViewCache>();
  private arrivedTimer = 0;
  private wasComplete = false;
  /** Whether the first heatmaps of all chosen runs have been shown, or have taken long. */
  private begun = false;

  constructor(private readonly host: Host) {
    this.address = new Address(host);
    this.view = fromParameters(host.readParameters());
    this.feed = new Feed(() => this.arrived());
    this.player = new Player(
      () => Number(this.view.speed),
      () => this.isComplete(),
      () => this.advance(),
      () => this.notify(),
    );
    this.rest = new Rest(
      () => {
        this.settle();
        if (waitsForRest(this.view)) this.notify();
      },
      () => {
        this.settle();
        if (this.view.page === "features" || this.selected().some((run) => this.isStale(run))) this.notify();
      },
    );
  }

  start(): void {
    this.host.onVisible(() => {
      this.host.writeParameters(toParameters(this.view)); // another tab may have dropped ours from the address bar
      this.host.takeKeys();
      void this.poll();
    });
    this.host.takeKeys();
    this.host.onReload(() => void this.poll());
    this.host.onParameters(() => {
      const parameters = this.host.readParameters();
      if (parameters.size) this.setView(fromParameters(parameters));
    });
    void this.poll();
  }

  /** The address of this very view. */
  link(): string {
    this.host.writeParameters(toParameters(this.view));
    return this.host.address;
  }

  /** What a view of this kind has loaded so far. */
  cacheOf<Cache extends ViewCache>(kind: new () => Cache): Cache {
    const known = this.caches.get(kind) ?? new kind();
    this.caches.set(kind, known);
    return known as Cache;
  }

  /** The steps of a run that need not be chosen, as of its listing. Rejects where they cannot be loaded. */
  infoOf(run: RunState): Promise<RunInfo> {
    return this.refresher.info(run);
  }

  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  // ---- the view

  setView(change: Partial<View>): void {
    const before = this.currentStep();
    this.closed = change.probe === null ? this.view.probe : null;
    this.view = { ...this.view, ...change };
    const after = this.currentStep();
    if (before !== null && after !== null && after !== before) {
      this.lastDirection = after > before ? 1 : -1;
      this.rest.moved(this.playing);
    }
    this.address.write(() => this.view);
    if (change.runs || change.quantities) void this.refreshSelected();
    this.settle();
    this.wasComplete = this.isComplete();
    this.notify();
  }

  /** The chosen runs that exist; without a choice the newest one, and the next that watches the same probes. */
  selected(): RunState[] {
    return this.choice.of(this.runs, this.view.runs);
  }

  /** All logged steps of the chosen runs: the places of the slider. The same array until they change. */
  steps(): readonly number[] {
    return this.places.take(this.selected().map((run) => run.steps)).steps;
  }

  /** Place of a step on the slider; -1 where it has none. */
  indexOf(step: number | null): number {
    this.steps();
    return this.places.indexOf(step);
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
    this.setView({ step: steps[Math.min(steps.length - 1, Math.max(0, this.indexOf(current) + by))]! });
  }

  stepOf(run: RunState, step: number | null): StepInfo | null {
    return stepOf(run, step);
  }

  // ---- playing

  get playing(): boolean {
    return this.player.playing;
  }

  /** Whether the slider stands still: what depends on the step but should not jump about may be put in order now. */
  get still(): boolean {
    return this.rest.resting && !this.playing;
  }

  /** Whether what the latest move asked for has been on its way for so long that the page should show it. */
  get late(): boolean {
    return this.rest.slow;
  }

  /** Offsets of the steps that may be asked for next: more of them in the direction of travel. */
  get ahead(): readonly number[] {
    return neighbours(this.lastDirection, this.playing);
  }

  play(): void {
    const steps = this.steps();
    if (steps.length < 2) return;
    if (this.currentStep() === steps[steps.length - 1]) this.setView({ step: steps[0]! });
    this.player.play();
    this.notify();
  }

  pause(): void {
    this.player.pause();
  }

  private advance(): boolean {
    const steps = this.steps();
    if (this.currentStep() === steps[steps.length - 1]) return false;
    this.move(1);
    return true;
  }

  // ---- what is shown

  picturesOf(run: RunState): ProbePictures | Error | null {
    return this.pictures.of(run);
  }

  /** Whether a run shows the step it should, or why it cannot. */
  isSettled(run: RunState): boolean {
    const wanted = stepOf(run, this.currentStep());
    if (wanted === null || this.frameError(run) !== null) return true;
    const seen = this.seen(run);
    return run.frame?.header.step === wanted.step && seen !== null && holds(run.frame, seen.shown);
  }

  /** Whether all chosen runs show the step they should. */
  isComplete(): boolean {
    return this.selected().every((run) => this.isSettled(run));
  }

  /** Whether the steps of all chosen runs are known, or why they are not. */
  private isKnown(): boolean {
    return this.selected().every((run) => run.info !== null || run.error !== null || run.listing.error !== undefined);
  }

  /** When the first heatmaps are on the page, or take long to come: curves and groups must not delay them. */
  private async firstShown(): Promise<void> {
    if (this.begun) return;
    await new Promise<void>((done) => {
      const end = this.subscribe(() => {
        if (this.begun) finish();
      });
      const late = window.setTimeout(() => {
        this.begun = true;
        finish();
        this.settle();
      }, LATE_SECONDS * 1000);
      const finish = (): void => {
        end();
        window.clearTimeout(late);
        done();
      };
    });
  }

  /** Whether a run has shown another step than it should for so long that it must be marked. */
  isStale(run: RunState): boolean {
    const other = run.frame !== null && run.frame.header.step !== stepOf(run, this.currentStep())?.step;
    return this.rest.slow && other && !this.isSettled(run);
  }

  /** Which probes of a run are on the screen; null while the page has not reported them. */
  seen(run: RunState): Seen | null {
    return this.inView.of(this.view, run.info?.probes);
  }

  /** Takes which of a set's probes, in `order`, are on the screen, each with `maps` heatmaps. */
  see(hash: string, order: readonly number[], shown: readonly number[], maps: number): void {
    if (!this.inView.put(hash, order, shown, maps)) return;
    this.settle();
    this.notify();
  }

  /** Whether all probes that the page shows are loaded and drawn as if they were on the screen. */
  drawAll(all: boolean): void {
    this.inView.all = all;
    this.settle();
    this.notify();
  }

  frameError(run: RunState): string | null {
    return this.feed.frameError(run, stepOf(run, this.currentStep()));
  }

  /** Steps of the slider that a film shows, the first and the last among them, the others evenly between. */
  filmSteps(most = FILM_FRAMES): number[] {
    const steps = this.steps();
    return spread(steps.length, most).map((i) => steps[i]!);
  }

  /** Has the histograms of these steps loaded, where they stand one behind the other. */
  showRidge(steps: readonly number[]): void {
    this.ridge = steps;
    this.settle();
  }

  /** A run's heatmaps at a step of the film; null while they load. */
  frameAt(run: RunState, step: number): Frame | null {
    return this.feed.frame(run, stepOf(run, step));
  }

  histogramAt(run: RunState, step: number, kind: TensorKind): HistogramAnswer | null {
    return this.feed.histogram(run, step, kind);
  }

  /** Names of all tensors of the chosen runs, in the order of the model. */
  tensors(): string[] {
    return tensorNames(this.selected());
  }

  tensor(): string | null {
    return tensorOf(this.tensors(), this.view.tensor);
  }

  retry(): void {
    this.pictures.retry();
    this.feed.retry();
    void this.poll();
    this.settle();
    this.notify();
  }

  // ---- loading

  private poll(): Promise<void> {
    return (this.polling ??= this.pollOnce().finally(() => {
      this.polling = null;
    }));
  }

  private async pollOnce(): Promise<void> {
    window.clearTimeout(this.pollTimer);
    try {
      if (this.host.isVisible()) await this.refresh();
    } finally {
      this.pollTimer = window.setTimeout(() => void this.poll(), POLL_SECONDS * 1000);
    }
  }

  /** Asks for the runs as they are from now on: the page has changed what lies in the folder of one. */
  async pollNow(): Promise<void> {
    await this.polling;
    await this.poll();
  }

  private async refresh(): Promise<void> {
    try {
      const listings = await api.fetchRuns();
      const known = new Map(this.runs?.map((run) => [run.listing.run, run]));
      this.runs = listings.map((listing) => this.stateOf(listing, known.get(listing.run)));
      if (listings.some((listing) => !this.order.knows(listing.run))) void this.colourRuns();
      this.error = null;
    } catch (error) {
      this.error = errorText(error);
    }
    this.notify();
    await this.refreshSelected();
  }

  private async colourRuns(): Promise<void> {
    await this.order.learn((this.runs ?? []).map((run) => run.listing.run));
    for (const run of this.runs ?? []) run.order = this.order.of(run.listing.run);
    this.notify();
  }

  private stateOf(listing: RunListing, known: RunState | undefined): RunState {
    if (!known) return freshRun(listing, this.order.of(listing.run));
    known.listing = listing;
    return known;
  }

  private async refreshSelected(): Promise<void> {
    const tensors = (this.view.quantities ?? []).filter(ofTensor);
    await Promise.all(this.selected().map((run) => this.refresher.run(run, tensors)));
  }

  private settle(): void {
    const steps = this.steps();
    const { view } = this;
    this.begun ||= this.runs !== null && this.isKnown() && this.isComplete();
    const idle = this.begun && this.still && this.isComplete();
    const scene: Scene = {
      runs: this.selected(),
      seen: (run) => this.seen(run),
      idle,
      begun: this.begun,
      together: !this.rest.slow,
      steps,
      at: this.indexOf(this.currentStep()),
      ahead: this.playing || idle ? this.ahead : [],
      tensor: this.tensor(),
      minus: view.minus,
      film: view.show === "film" && this.rest.resting ? this.filmSteps() : [],
      ridge: view.plots === "ridge" && this.rest.resting ? this.ridge : [],
    };
    this.feed.settle(scene);
    for (const run of scene.runs) this.pictures.load(run, this.seen(run)?.shown ?? null, idle);
  }

  /**
   * Something of the step on the page has come. The heatmaps of all runs are drawn as soon as the last one is there;
   * what comes one by one before and after waits for its like a little, or the page would be drawn nine times a move.
   */
  private arrived(): void {
    if (this.isComplete() && !this.wasComplete) {
      this.wasComplete = true;
      this.notify();
    } else this.gather();
  }

  private gather(): void {
    if (this.arrivedTimer === 0) this.arrivedTimer = window.setTimeout(() => this.notify(), GATHER_SECONDS * 1000);
  }

  /** Draws once for all that changed since the last picture; a page that is not drawn is notified at once. */
  private notify(): void {
    if (this.notifying) return;
    this.notifying = true;
    window.clearTimeout(this.arrivedTimer);
    this.arrivedTimer = 0;
    const draw = (): void => {
      this.notifying = false;
      assignPatterns(this.selected());
      for (const listener of this.listeners) listener();
      // Behind this picture: neighbours must not delay what is shown.
      if (this.isComplete()) window.setTimeout(() => this.settle());
    };
    if (this.host.isVisible()) requestAnimationFrame(draw);
    else queueMicrotask(draw);
  }
}
