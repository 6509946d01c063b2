// A channel's share over all steps, which moves the slider, and the line that shows where it stands.
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import type { Model } from "../state/model";
import { curvePath, placeOf, stepAt } from "./choice";

export interface Curve {
  steps: number[];
  shares: (number | null)[];
}

interface SparkProps {
  model: Model;
  curve: Curve | undefined;
  label: string;
  height: number;
}

/** A share over all steps; a click or a drag moves the slider. */
export function Spark({ model, curve, label, height }: SparkProps): JSX.Element {
  const path = useMemo(() => (curve ? curvePath(curve.shares, 100, height) : ""), [curve, height]);
  const steps = curve?.steps ?? [];
  const move = (event: PointerEvent & { currentTarget: SVGSVGElement }): void => {
    if (event.type === "pointermove" && event.buttons === 0) return;
    const box = event.currentTarget.getBoundingClientRect();
    const step = stepAt(steps, (event.clientX - box.left) / box.width);
    if (step !== null) model.setView({ step });
  };
  return (
    <svg class="spark" viewBox={`0 0 100 ${height}`} preserveAspectRatio="none" role="img" aria-label={label} data-testid="spark" onPointerDown={move} onPointerMove={move}>
      <line class="ground" x1="0" x2="100" y1={height} y2={height} />
      <path d={path} />
    </svg>
  );
}

/** The slider's step and the pinned one as lines over curves that share these steps. */
export function Cursor({ model, steps, pinned, style }: { model: Model; steps: readonly number[]; pinned: number | null; style: Record<string, string> }): JSX.Element {
  const lines: [string, number | null][] = [
    ["pin", placeOf(steps, pinned)],
    ["now", placeOf(steps, model.currentStep())],
  ];
  return (
    <div class="cursor" style={style} aria-hidden="true">
      {lines.map(([kind, place]) => place !== null && <i key={kind} class={kind} style={{ left: `${100 * place}%` }} />)}
    </div>
  );
}
