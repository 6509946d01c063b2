// The runs there are, as the server lists them: polled while the page is visible.
import * as api from "../data/api";
import { freshRun, type RunState } from "../data/run";
import { errorText } from "../data/refresh";
import type { RunListing } from "../data/types";
import { RunOrder } from "./runcolours";

const POLL_SECONDS = 3;

export class RunList {
  /** Null until they are first listed. The same state for a run in each list. */
  runs: RunState[] | null = null;
  /** Why the latest list could not be had. */
  error: string | null = null;
  private readonly order = new RunOrder();
  private timer = 0;
  private polling: Promise<void> | null = null;

  /** `changed` is called when a list or the runs' colours have come, `listed` after each list; the next poll waits for it. */
  constructor(
    private readonly isVisible: () => boolean,
    private readonly changed: () => void,
    private readonly listed: () => Promise<void>,
  ) {}

  /** Asks for the list, and again every few seconds. */
  poll(): Promise<void> {
    return (this.polling ??= this.pollOnce().finally(() => {
      this.polling = null;
    }));
  }

  /** Asks for the runs as they are from now on: a poll that is under way may have been answered before. */
  async pollNow(): Promise<void> {
    await this.polling;
    await this.poll();
  }

  private async pollOnce(): Promise<void> {
    window.clearTimeout(this.timer);
    try {
      if (this.isVisible()) await this.refresh();
    } finally {
      this.timer = window.setTimeout(() => void this.poll(), POLL_SECONDS * 1000);
    }
  }

  private async refresh(): Promise<void> {
    try {
      const listings = await api.fetchRuns();
      const known = new Map(this.runs?.map((run) => [run.listing.run, run]));
      this.runs = listings.map((listing) => this.stateOf(listing, known.get(listing.run)));
      if (listings.some((listing) => !this.order.knows(listing.run))) void this.colour();
      this.error = null;
    } catch (error) {
      this.error = errorText(error);
    }
    this.changed();
    await this.listed();
  }

  private async colour(): Promise<void> {
    await this.order.learn((this.runs ?? []).map((run) => run.listing.run));
    for (const run of this.runs ?? []) run.order = this.order.of(run.listing.run);
    this.changed();
  }

  private stateOf(listing: RunListing, known: RunState | undefined): RunState {
    if (!known) return freshRun(listing, this.order.of(listing.run));
    known.listing = listing;
    return known;
  }
}
