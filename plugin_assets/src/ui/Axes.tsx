// What plots over the logged steps share: rules with their values, steps below them, and a pointer that scrubs.
import type { JSX, TargetedPointerEvent } from "preact";

interface Scrubbing {
  onPointerDown: (event: TargetedPointerEvent<SVGSVGElement>) => void;
  onPointerMove: (event: TargetedPointerEvent<SVGSVGElement>) => void;
}

/**
 * Handlers that report where the pressed pointer is between `left` and `right` pixels: 0 ... 1. With Shift held down when it
 * is pressed a range is drawn in place of that, and passed to `range` when it is let go.
 */
export function scrubbing(left: number, right: number, go: (share: number) => void, range?: (from: number, to: number) => void): Scrubbing {
  const shareOf = (event: PointerEvent, plot: Element): number => {
    const x = event.clientX - plot.getBoundingClientRect().left;
    return Math.min(1, Math.max(0, (x - left) / (right - left)));
  };
  const choose = (event: TargetedPointerEvent<SVGSVGElement>, chosen: (from: number, to: number) => void): void => {
    const plot = event.currentTarget;
    const from = shareOf(event, plot);
    const mark = plot.querySelector(".range-mark");
    const move = (moved: PointerEvent): void => {
      const [a, b] = [from, shareOf(moved, plot)].sort((one, other) => one - other) as [number, number];
      mark?.setAttribute("x", String(left + a * (right - left)));
      mark?.setAttribute("width", String((b - a) * (right - left)));
    };
    const end = (moved: PointerEvent): void => {
      plot.removeEventListener("pointermove", move);
      mark?.setAttribute("width", "0");
      const [a, b] = [from, shareOf(moved, plot)].sort((one, other) => one - other) as [number, number];
      if ((b - a) * (right - left) > 4) chosen(a, b);
    };
    plot.addEventListener("pointermove", move);
    plot.addEventListener("pointerup", end, { once: true });
  };
  let ranging = false;
  return {
    onPointerDown: (event) => {
      event.currentTarget.setPointerCapture(event.pointerId); // a drag goes on beyond the plot
      ranging = range !== undefined && event.shiftKey;
      if (ranging) choose(event, range!);
      else go(shareOf(event, event.currentTarget));
    },
    onPointerMove: (event) => {
      if (event.buttons & 1 && !event.shiftKey && !ranging) go(shareOf(event, event.currentTarget));
    },
  };
}

interface AxesProps {
  left: number;
  right: number;
  bottom: number;
  /** Where the steps are written. */
  foot: number;
  yTicks: readonly number[];
  toY: (value: number) => number;
  yText: (value: number) => string;
  xTicks: readonly number[];
  toX: (step: number) => number;
  xText?: (x: number) => string;
}

export function Axes({ left, right, bottom, foot, yTicks, toY, yText, xTicks, toX, xText = String }: AxesProps): JSX.Element {
  return (
    <>
      {yTicks.map((value) => (
        <g key={value}>
          <line class="rule" x1={left} x2={right} y1={toY(value)} y2={toY(value)} />
          <text class="tick" x={left - 6} y={toY(value)} dy="0.32em" text-anchor="end">
            {yText(value)}
          </text>
        </g>
      ))}
      {xTicks.map((step) => (
        <text key={step} class="tick" x={toX(step)} y={foot} text-anchor="middle">
          {xText(step)}
        </text>
      ))}
      <line class="axis" x1={left} x2={right} y1={bottom} y2={bottom} />
    </>
  );
}
