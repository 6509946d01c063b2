// The page's runs and its view in one place: what of them is chosen and shown, and what that needs to be loaded.
import { Address } from "./address";
import type { ViewCache } from "./cache";
import { spread } from "../data/ticks";
import { holds, type Frame, type ProbePictures } from "../data/decode";
import { Feed, stepOf, type Scene, type Seen } from "../data/feed";
import { FirstMaps } from "./firstmaps";
import { Choice } from "./names";
import type { Host } from "./host";
import { neighbours } from "../data/jobs";
import { tensorNames, tensorOf, type RunState } from "../data/run";
import { InView } from "./inview";
import { Listeners } from "./listeners";
import { assignPatterns } from "./runcolours";
import { Pictures } from "../data/pictures";
import { Places } from "./places";
import { Player } from "./player";
import { Rest } from "./rest";
import { RunList } from "./runlist";
import { nearestIndex } from "../data/steps";
import { ofTensor } from "../data/format";
import { Refresher } from "../data/refresh";
import type { HistogramAnswer, RunInfo, StepInfo, TensorKind } from "../data/types";
import { fromParameters, toParameters, waitsForRest, type OpenProbe, type View } from "./view";

const FILM_FRAMES = 12;

export class Model {
  view: View;
  /** The probe whose large view the latest change has closed: its card takes the focus back. */
  closed: OpenProbe | null = null;
  private readonly pictures = new Pictures(() => this.notify());
  private readonly feed: Feed;
  private readonly player: Player;
  private readonly rest: Rest;
  private readonly listeners: Listeners;
  private readonly list: RunList;
  private readonly address: Address;
  private readonly firstMaps = new FirstMaps(() => this.settle());
  private readonly refresher: Refresher;
  private readonly places = new Places();
  private readonly inView = new InView();
  private lastDirection = 1;
  private ridge: readonly number[] = [];
  private readonly choice = new Choice<RunState>();
  private readonly caches = new Map<new () => ViewCache, ViewCache>();
  private wasComplete = false;

  constructor(private readonly host: Host) {
    this.address = new Address(host);
    this.view = fromParameters(host.readParameters());
    this.listeners = new Listeners(
      () => host.isVisible(),
      () => assignPatterns(this.selected()),
      () => {
        this.firstMaps.drawn();
        // Behind this picture: neighbours must not delay what is shown.
        if (this.isComplete()) window.setTimeout(() => this.settle());
      },
    );
    this.list = new RunList(
      () => host.isVisible(),
      () => this.notify(),
      () => this.refreshSelected(),
    );
    this.refresher = new Refresher(
      () => this.firstMaps.wait(),
      () => {
        this.settle();
        // The runs that are chosen come one by one: they are drawn together.
        if (this.isKnown()) this.notify();
        else this.listeners.gather();
      },
    );
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
      void this.list.poll();
    });
    this.host.takeKeys();
    this.host.onReload(() => void this.list.poll());
    this.host.onParameters(() => {
      const parameters = this.host.readParameters();
      if (parameters.size) this.setView(fromParameters(parameters));
    });
    void this.list.poll();
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

  /** Has a listener called for every picture that something has changed for. Returns what takes it away again. */
  subscribe(listener: () => void): () => void {
    return this.listeners.add(listener);
  }

  // ---- the runs

  /** All runs there are; null until they are first listed. */
  get runs(): readonly RunState[] | null {
    return this.list.runs;
  }

  /** Why the runs could not be listed. */
  get error(): string | null {
    return this.list.error;
  }

  /** Asks for the runs as they are from now on: the page has changed what lies in the folder of one. */
  pollNow(): Promise<void> {
    return this.list.pollNow();
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
    void this.list.poll();
    this.settle();
    this.notify();
  }

  // ---- loading

  private async refreshSelected(): Promise<void> {
    const tensors = (this.view.quantities ?? []).filter(ofTensor);
    await Promise.all(this.selected().map((run) => this.refresher.run(run, tensors)));
  }

  private settle(): void {
    const steps = this.steps();
    const { view } = this;
    this.firstMaps.loaded(this.runs !== null && this.isKnown() && this.isComplete());
    const { begun } = this.firstMaps;
    const idle = begun && this.still && this.isComplete();
    const scene: Scene = {
      runs: this.selected(),
      seen: (run) => this.seen(run),
      idle,
      begun,
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
    } else this.listeners.gather();
  }

  private notify(): void {
    this.listeners.notify();
  }
}
