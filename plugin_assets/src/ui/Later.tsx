// Parts of the page that may be drawn a frame after the heatmaps: numbers, curves and histograms move the page's layout,
// heatmaps do not, and a slider that answers within a frame feels like one.
import type { ComponentChildren, JSX } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";

/** The longest that `busy` keeps them waiting: a slider that never rests must not keep its numbers from being drawn. */
const BUSY_SECONDS = 0.15;

interface LaterProps {
  children: ComponentChildren;
  /** Whether heatmaps are on their way that need the page's time more. */
  busy?: boolean;
}

export function Later({ children, busy = false }: LaterProps): JSX.Element {
  const [shown, show] = useState(children);
  const latest = useRef(children);
  const frame = useRef(0);
  const timer = useRef(0);
  latest.current = children;
  useLayoutEffect(() => {
    // One wait at a time, for the latest.
    if (shown === latest.current || frame.current) return;
    const draw = (): void => {
      clearTimeout(timer.current);
      timer.current = 0;
      frame.current = requestAnimationFrame(() => {
        frame.current = 0;
        show(latest.current);
      });
    };
    if (!busy) draw();
    else timer.current ||= window.setTimeout(draw, BUSY_SECONDS * 1000);
  });
  useLayoutEffect(
    () => () => {
      clearTimeout(timer.current);
      cancelAnimationFrame(frame.current);
    },
    [],
  );
  return <>{shown}</>;
}
