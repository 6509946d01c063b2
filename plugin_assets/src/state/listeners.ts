// Who draws the page: listeners are called once a picture, however much has changed since the last one.

const GATHER_SECONDS = 0.1;

export class Listeners {
  private readonly listeners = new Set<() => void>();
  private notifying = false;
  private gatherTimer: ReturnType<typeof setTimeout> | undefined;

  /** `before` and `after` are called around the listeners. A page that is not visible has no next picture to wait for. */
  constructor(
    private readonly isVisible: () => boolean,
    private readonly before: () => void,
    private readonly after: () => void,
  ) {}

  /** Returns what takes the listener away again. */
  add(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Calls the listeners before the next picture; at once where the page is not visible. */
  notify(): void {
    if (this.notifying) return;
    this.notifying = true;
    clearTimeout(this.gatherTimer);
    this.gatherTimer = undefined;
    const draw = (): void => {
      this.notifying = false;
      this.before();
      for (const listener of this.listeners) listener();
      this.after();
    };
    if (this.isVisible()) requestAnimationFrame(draw);
    else queueMicrotask(draw);
  }

  /** Notifies a little later, so that what comes one by one is drawn together. */
  gather(): void {
    this.gatherTimer ??= setTimeout(() => this.notify(), GATHER_SECONDS * 1000);
  }
}
