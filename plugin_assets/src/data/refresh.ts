// Keeps what is known of runs up to date: their steps, their curves and the groups of their probes.
import * as api from "./api";
import type { RunState } from "./run";
import { followUp, mergeRun, type Since } from "./tail";
import { logState, timelineJob } from "./timelines";
import type { RunInfo } from "./types";

export const errorText = (error: unknown): string => (error instanceof Error ? error.message : String(error));

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
  run(run: RunState, tensors: readonly string[]): Promise<void> {
    return this.inTurn(run, () => this.bringUp(run, tensors));
  }

  /** The steps of a run as of its listing, without its curves. Rejects where they cannot be loaded. */
  async info(run: RunState): Promise<RunInfo> {
    await this.inTurn(run, async () => {
      const ask = followUp(run.info, run.listing);
      if (ask !== "nothing") await this.takeInfo(run, ask === "all" ? null : ask);
    });
    return run.info!;
  }

  private async inTurn(run: RunState, work: () => Promise<void>): Promise<void> {
    const before = this.refreshing.get(run);
    const turn = (before ?? Promise.resolve()).catch(() => undefined).then(work);
    this.refreshing.set(run, turn);
    try {
      await turn;
    } finally {
      if (this.refreshing.get(run) === turn) this.refreshing.delete(run);
    }
  }

  private async takeInfo(run: RunState, since: Since | null, ask = api.fetchRun): Promise<void> {
    run.info = mergeRun(since && run.info, await ask(run.listing.run, since));
    const steps = run.info.steps.map(({ step }) => step);
    if (steps.join() !== run.steps.join()) run.steps = steps;
  }

  /** Asks only for what is new where that is enough. */
  private async bringUp(run: RunState, wanted: readonly string[]): Promise<void> {
    const { listing } = run;
    if (listing.error !== undefined) return;
    const ask = followUp(run.info, listing);
    const tensors = [...new Set([...run.timelineTensors, ...wanted])];
    const job = timelineJob(listing, { columns: "", of_tensors: tensors.join(",") });
    const fits = run.timeline !== null && tensors.length === run.timelineTensors.length;
    const known = fits ? { timeline: run.timeline!, state: run.timelineState } : undefined;
    const isCurrent = known?.state === job.state;
    if (ask === "nothing" && isCurrent && run.error === null && run.clustersAsked === clusterState(run)) return;
    try {
      if (run.info === null) {
        await this.takeInfo(run, null, api.fetchBriefRun);
        this.changed(); // heatmaps need not wait for the rest, nor this run for the others
        await this.ready();
      }
      const rest = followUp(run.info, listing);
      if (rest !== "nothing") {
        await this.takeInfo(run, rest === "all" ? null : rest);
        this.changed();
      }
      if (!isCurrent) {
        await this.ready();
        const { timeline, state } = await job.load(known);
        run.timeline = timeline;
        run.timelineState = state;
        run.timelineTensors = tensors;
      }
      run.error = null;
      void this.askClusters(run);
    } catch (error) {
      run.error = errorText(error);
    }
    this.changed();
  }

  /** Asks for the groups of a run's probes where there may be other ones than are known. */
  private async askClusters(run: RunState): Promise<void> {
    const state = clusterState(run);
    if (run.clustersAsked === state) return;
    run.clustersAsked = state;
    // An error is reported by the run's own requests, if it is the server; groups are an extra, asked for again.
    const found = state === NO_CLUSTERS ? new Map<number, number[]>() : await api.fetchClusters(run.listing.run).catch(() => null);
    if (found === null) run.clustersAsked = null;
    if (!found || (found.size === 0 && run.clusters.size === 0)) return;
    run.clusters = found;
    this.changed();
  }
}

const NO_CLUSTERS = "none";

/** A state that changes when a run may have other groups: files beside its records, and steps that log groups. */
function clusterState({ listing, timeline }: RunState): string {
  const columns = timeline?.columns;
  const logged = columns === undefined || columns.includes("cluster");
  if (listing.annotations === "" && !logged) return NO_CLUSTERS;
  return `${listing.annotations} ${logged ? logState(listing) : ""}`;
}
