// Plays the logged steps one after the other, waiting for those that are still loading.

export class Player {
  playing = false;
  private timer = 0;

  /** `advance` goes one step on and returns whether there was one; `ready` whether the step shown now has arrived. */
  constructor(
    private readonly perSecond: () => number,
    private readonly ready: () => boolean,
    private readonly advance: () => boolean,
    private readonly stopped: () => void,
  ) {}

  play(): void {
    this.playing = true;
    this.next();
  }

  pause(): void {
    this.playing = false;
    clearTimeout(this.timer);
    this.stopped();
  }

  private next(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      if (!this.playing) return;
      // A film without its pictures shows nothing: wait for the step that is still loading.
      if (this.ready() && !this.advance()) this.pause();
      else this.next();
    }, 1000 / this.perSecond()) as unknown as number;
  }
}
