// Outlines of histograms, and the axis they stand on.
import { useRef } from "preact/hooks";
import { extent, fillCells, join, type Range } from "../data/bins";
import type { HistogramAnswer } from "../data/types";

/** Cells of the x axis: the fewer the values, the wider, or chance draws the picture. */
export const cellsFor = (size: number): number => Math.min(72, Math.max(16, Math.ceil(2 * Math.sqrt(size))));

/** The x axis of what was seen so far of this tensor: it only ever grows, so that moving the slider moves the data. */
export function useStableRange(key: string, answers: readonly (HistogramAnswer | null | undefined)[], log: boolean): Range | null {
  const kept = useRef<{ key: string; range: Range | null }>({ key: "", range: null });
  let range = kept.current.key === key ? kept.current.range : null;
  for (const answer of answers) if (answer) range = join(range, extent(answer, log));
  kept.current = { key, range };
  return range;
}

export function shares(answer: HistogramAnswer | null | undefined, range: Range | null, log: boolean, cells: number): number[] {
  if (!answer || range === null) return [];
  const total = Math.max(1, answer.size);
  return Array.from(fillCells(answer, range, log, cells), (amount) => amount / total);
}

/** Closed outline of the cells, the highest reaching `top`. */
export function stairs(all: number[], left: number, right: number, bottom: number, top: number, peak: number): string {
  if (all.length === 0) return "";
  const width = (right - left) / all.length;
  let path = `M${left} ${bottom}`;
  all.forEach((share, i) => {
    const y = bottom - (share / peak) * (bottom - top);
    path += `V${y.toFixed(1)}H${(left + (i + 1) * width).toFixed(1)}`;
  });
  return `${path}V${bottom}Z`;
}
