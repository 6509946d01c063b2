// Parts of the page that may be drawn a frame after the heatmaps: numbers, curves and histograms move the page's layout,
// heatmaps do not, and a slider that answers within a frame feels like one.
import type { ComponentChildren, JSX } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";

export function Later({ children }: { children: ComponentChildren }): JSX.Element {
  const [shown, show] = useState(children);
  const latest = useRef(children);
  const pending = useRef(0);
  latest.current = children;
  useLayoutEffect(() => {
    // One wait at a time, for the latest: a slider that never rests must not keep its numbers from being drawn.
    if (shown === latest.current || pending.current) return;
    pending.current = requestAnimationFrame(() => {
      pending.current = 0;
      show(latest.current);
    });
  });
  useLayoutEffect(() => () => cancelAnimationFrame(pending.current), []);
  return <>{shown}</>;
}
