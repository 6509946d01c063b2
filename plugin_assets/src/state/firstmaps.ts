// Whether the first heatmaps are on the page: what would delay them, curves and groups of probes, waits until then.

/** Longer than this nothing waits. */
const LATE_SECONDS = 2;

export class FirstMaps {
  /** Whether they have come, or are late. Never false again. */
  begun = false;
  private waiting: (() => void)[] = [];

  /** `late` is called when something has waited long enough. */
  constructor(private readonly late: () => void) {}

  /** Takes whether all heatmaps of the view are loaded. */
  loaded(all: boolean): void {
    this.begun ||= all;
  }

  /** The page has been drawn. */
  drawn(): void {
    if (this.begun) for (const go of this.waiting.splice(0)) go();
  }

  /** Resolves when they have been drawn, or are late. */
  async wait(): Promise<void> {
    if (this.begun) return;
    await new Promise<void>((done) => {
      const timer = setTimeout(() => {
        this.begun = true;
        done();
        this.late();
      }, LATE_SECONDS * 1000);
      this.waiting.push(() => {
        clearTimeout(timer);
        done();
      });
    });
  }
}
