// The edge between the middle and the panels below it: dragging it, or ↑ and ↓, makes the plots higher or lower.
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { recall, remember } from "../state/remembered";

const LEAST = 60;
const STEP = 24;
const KEY = "height of plots";

const most = (): number => Math.max(LEAST, Math.round(window.innerHeight * 0.6));
const within = (height: number): number => Math.min(most(), Math.max(LEAST, Math.round(height)));

/** Height of the plots that the user has chosen, in pixels; 0: folded away; null: as the page's size asks. */
function chosen(): number | null {
  const kept = recall(KEY);
  const height = kept === null ? NaN : Number(kept);
  return Number.isFinite(height) ? (height === 0 ? 0 : within(height)) : null;
}

export function Divider(): JSX.Element {
  const [height, setHeight] = useState(chosen);
  const set = (next: number | null): void => {
    remember(KEY, next === null ? null : String(next));
    setHeight(next);
  };
  useEffect(() => {
    const page = document.querySelector<HTMLElement>(".page");
    page?.classList.toggle("folded", height === 0);
    if (height) page?.style.setProperty("--plot", `${height}px`);
    else page?.style.removeProperty("--plot");
  }, [height]);
  const now = (): number => document.querySelector(".timeline .plot")?.getBoundingClientRect().height ?? 0;
  const folded = height === 0;
  return (
    <section class="divider" aria-label="Edge of the curves and histograms">
      <div
        class="grip"
        role="separator"
        aria-orientation="horizontal"
        aria-label="Height of the curves and histograms"
        aria-valuemin={LEAST}
        aria-valuemax={most()}
        aria-valuenow={height || LEAST}
        tabIndex={0}
        data-testid="divider"
        onPointerDown={(event) => {
          const from = event.clientY + now();
          const grip = event.currentTarget;
          grip.setPointerCapture(event.pointerId);
          const move = (moved: PointerEvent): void => set(within(from - moved.clientY));
          grip.addEventListener("pointermove", move);
          const end = (): void => grip.removeEventListener("pointermove", move);
          grip.addEventListener("lostpointercapture", end, { once: true });
        }}
        onDblClick={() => set(null)}
        onKeyDown={(event) => {
          if (event.key === "ArrowUp") set(within(now() + STEP));
          else if (event.key === "ArrowDown") set(within(now() - STEP));
          else return;
          event.preventDefault();
          event.stopPropagation();
        }}
      />
      <button type="button" aria-expanded={!folded} data-testid="fold-panels" onClick={() => set(folded ? null : 0)}>
        {folded ? "Show curves and histograms" : "Hide curves and histograms"}
      </button>
    </section>
  );
}
