// Parts of the page that may be drawn a frame after the heatmaps: numbers, curves and histograms move the page's layout,
// heatmaps do not, and a slider that answers within a frame feels like one.
import { Component, type ComponentChildren } from "preact";

/** The longest that `busy` keeps them waiting: a slider that never rests must not keep its numbers from being drawn. */
const BUSY_SECONDS = 0.15;

interface LaterProps {
  /** A function: elements in its place would hold all that were ever drawn, each the ones drawn after it. */
  children: () => ComponentChildren;
  /** Whether heatmaps are on their way that need the page's time more. */
  busy?: boolean;
  /** Whether they are drawn at once for now. */
  now?: boolean;
}

/** Draws its latest children when the time has come. */
export class Later extends Component<LaterProps> {
  private frame = 0;
  private timer = 0;

  override shouldComponentUpdate({ busy, now }: LaterProps): boolean {
    if (now) return true;
    if (this.frame) return false; // one wait at a time, for the latest
    if (!busy) this.draw();
    else this.timer ||= window.setTimeout(() => this.draw(), BUSY_SECONDS * 1000);
    return false;
  }

  override componentWillUnmount(): void {
    clearTimeout(this.timer);
    cancelAnimationFrame(this.frame);
  }

  override render(): ComponentChildren {
    return this.props.children();
  }

  private draw(): void {
    clearTimeout(this.timer);
    this.timer = 0;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.forceUpdate();
    });
  }
}
