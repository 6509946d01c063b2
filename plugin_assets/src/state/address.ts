// Keeps the view in the address bar, written at most every so often: browsers slow pages down that do it more.
import type { Host } from "./host";
import { toParameters, type View } from "./view";

const SECONDS = 0.25;

export class Address {
  private timer = 0;
  private written = 0;

  constructor(private readonly host: Host) {}

  /** Writes what `view` gives, now or when the time has come. */
  write(view: () => View): void {
    window.clearTimeout(this.timer);
    const write = (): void => {
      this.written = performance.now();
      this.host.writeParameters(toParameters(view()));
    };
    const wait = this.written + 1000 * SECONDS - performance.now();
    if (wait <= 0) write();
    else this.timer = window.setTimeout(write, wait);
  }
}
