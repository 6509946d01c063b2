// Keeps what is known of runs up to date: their steps, their curves and the groups of their probes.
import * as api from "./api";
import type { RunState } from "./jobs";
import { followUp, mergeRun, mergeTimeline } from "./tail";

export const words = (error: unknown): string => (error instanceof Error ? error.message : String(error));

export class Refresher {
  private readonly refreshing = new Map<RunState, Promise<void>>();

  /** `ready`: when there is time for curves and groups. `changed` is called when anything has come. */
  constructor(
    private readonly ready: () => Promise<void>,
    private readonly changed: () => void,
  ) {}

  /**
   * Brings a run up to its listing, with the curves of some tensors. One after the other for each run: a second wish,
   * made while the first is under way, mostly finds nothing to ask.
   */
  async run(run: RunState, tensors: readonly string[]): Promise<void> {
    const before = this.refreshing.get(run);
    const turn = (before ?? Promise.resolve()).then(() => this.bringUp(run, tensors));
    this.refreshing.set(run, turn);
    await turn;
    if (this.refreshing.get(run) === turn) this.refreshing.delete(run);
  }

  async askClusters(run: RunState): Promise<void> {
    // An error is said by the run's own requests, if it is the server; groups are an extra.
    const found = await api.fetchClusters(run.listing.run).catch(() => null);
    if (!found || (found.size === 0 && run.clusters.size === 0)) return;
    run.clusters = found;
    this.changed();
  }

  /** Asks only for what is new where that is enough. */
  private async bringUp(run: RunState, tensors: readonly string[]): Promise<void> {
    if (run.listing.error !== undefined) return;
    const ask = followUp(run.info, run.listing);
    const timelineFits = run.timeline !== null && (tensors.length === 0 || tensors.join() === run.timelineTensors);
    if (ask === "nothing" && timelineFits && run.error === null) return;
    const since = ask === "nothing" || ask === "all" || !timelineFits ? null : ask;
    try {
      if (ask !== "nothing" || run.info === null || run.error !== null) {
        const info = await api.fetchRun(run.listing.run, since);
        run.info = mergeRun(since && run.info, info);
        run.steps = run.info.steps.map((step) => step.step);
        run.error = null;
        this.changed(); // heatmaps need not wait for the timeline, nor this run for the others
      }
      await this.ready();
      const timeline = await api.fetchTimeline(run.listing.run, since, [], tensors);
      run.timeline = mergeTimeline(since && run.timeline, timeline);
      run.timelineTensors = tensors.join();
      // At first, and with new steps where groups are logged with them.
      if (ask !== "nothing" && (since === null || run.clusters.size > 0)) void this.askClusters(run);
    } catch (error) {
      run.error = words(error);
    }
    this.changed();
  }
}
