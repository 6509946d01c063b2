// What plots over the logged steps share: rules with their values, steps below them, and a pointer that scrubs.
import type { JSX, TargetedPointerEvent } from "preact";

interface Scrubbing {
  onPointerDown: (event: TargetedPointerEvent<SVGSVGElement>) => void;
  onPointerMove: (event: TargetedPointerEvent<SVGSVGElement>) => void;
}

/** Handlers that tell where the pressed pointer is between `left` and `right` pixels: 0 ... 1. */
export function scrubbing(left: number, right: number, go: (share: number) => void): Scrubbing {
  const scrub = (event: TargetedPointerEvent<SVGSVGElement>): void => {
    const x = event.clientX - event.currentTarget.getBoundingClientRect().left;
    go(Math.min(1, Math.max(0, (x - left) / (right - left))));
  };
  return {
    onPointerDown: (event) => {
      event.currentTarget.setPointerCapture(event.pointerId); // a drag goes on beyond the plot
      scrub(event);
    },
    onPointerMove: (event) => {
      if (event.buttons & 1) scrub(event);
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
}

export function Axes({ left, right, bottom, foot, yTicks, toY, yText, xTicks, toX }: AxesProps): JSX.Element {
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
          {step}
        </text>
      ))}
      <line class="axis" x1={left} x2={right} y1={bottom} y2={bottom} />
    </>
  );
}
