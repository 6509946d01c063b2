// Whether the slider rests, and whether the step that it asked for takes long to come.

/** Rest after a move before neighbours are loaded: while the slider is dragged only what is under it counts. */
const REST_SECONDS = 0.06;
/** Steps that take longer than this to load are shown dimmed until they are there. */
const SLOW_SECONDS = 0.3;

export class Rest {
  resting = true;
  slow = false;
  private restTimer = 0;
  private slowTimer = 0;

  /** `rested` is called when the slider has come to rest, `late` when the step after a move has taken long. */
  constructor(
    private readonly rested: () => void,
    private readonly late: () => void,
  ) {}

  /** The slider has moved; while playing it counts as at rest. */
  moved(playing: boolean): void {
    this.resting = playing;
    this.slow = false;
    window.clearTimeout(this.restTimer);
    this.restTimer = window.setTimeout(() => {
      this.resting = true;
      this.rested();
    }, REST_SECONDS * 1000);
    window.clearTimeout(this.slowTimer);
    this.slowTimer = window.setTimeout(() => {
      this.slow = true;
      this.late();
    }, SLOW_SECONDS * 1000);
  }
}
