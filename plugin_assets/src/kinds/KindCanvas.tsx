// A canvas of a probe's inputs with a run's relevance, as wide as its place and as high as it needs.
import type { JSX } from "preact";
import { useLayoutEffect, useMemo } from "preact/hooks";
import type { HeatMap } from "../data/decode";
import type { View } from "../state/view";
import { useSize } from "../ui/hooks";
import { useLazy } from "../ui/lazy";
import type { Look, Panel } from "./panel";
import type { Source } from "../data/source";
import { useTheme } from "./theme";

/** What draws inputs, loaded when the first one is to be drawn: most runs hold pictures alone. */
const load = (): Promise<typeof import("./drawing")> => import("./drawing");

const panels = new WeakMap<Element, Panel>();

/** The panel that is drawn in a cell; undefined where it holds a picture or nothing. */
export const panelIn = (cell: Element): Panel | undefined => panels.get(cell);

/** The page's own colours, which a theme sets. */
export function pageColours(element: Element): Pick<Look, "ink" | "faint" | "ground"> {
  const style = getComputedStyle(element);
  const of = (name: string, instead: string): string => style.getPropertyValue(name).trim() || instead;
  return { ink: of("--text", "#202124"), faint: of("--muted", "#5f6368"), ground: of("--sunken", "#f1f3f4") };
}

/** Paints a panel on a canvas of so many CSS pixels, in the screen's own. */
export function paintPanel(canvas: HTMLCanvasElement, panel: Panel, width: number): void {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(panel.height * ratio));
  const context = canvas.getContext("2d");
  if (!context) throw new Error("this browser gives no 2D canvas");
  context.setTransform(canvas.width / width, 0, 0, canvas.height / panel.height, 0, 0);
  panel.paint(context);
}

export interface KindCanvasProps {
  sources: readonly Source[];
  map: HeatMap | null;
  limit: number;
  step: number | null;
  size: Look["size"];
  view: Pick<View, "colours" | "gamma" | "features" | "slice" | "zoom" | "outlines">;
  label: string;
  testid?: string;
  run?: string;
}

export function KindCanvas({ sources, map, limit, step, size, view, label, testid, run }: KindCanvasProps): JSX.Element {
  const [ref, width] = useSize<HTMLDivElement>();
  const { features, slice, zoom, gamma, outlines } = view;
  const theme = useTheme();
  const part = useLazy(load);
  const draw = part instanceof Error ? null : (part?.probePanel ?? null);
  const panel = useMemo(() => {
    if (draw === null || width === 0 || !ref.current || sources.length === 0) return null;
    const look: Look = { map, limit, colours: view.colours, gamma: Number(gamma), size, order: features, slice, zoom, outlines, ...pageColours(ref.current) };
    return draw(sources, width, look);
  }, [draw, sources, map, limit, width, size, view.colours, gamma, features, slice, zoom, outlines, theme]);
  useLayoutEffect(() => {
    const box = ref.current;
    const canvas = box?.querySelector("canvas");
    if (!box || !canvas || !panel) return;
    paintPanel(canvas, panel, width);
    canvas.dataset.step = String(step);
    const cell = box.closest(".cell");
    if (cell) panels.set(cell, panel);
  }, [panel, step]);
  return (
    <div class="kind" ref={ref} style={{ height: panel ? `${panel.height}px` : undefined }}>
      {part instanceof Error && <p class="instead">This part of the page could not be loaded ({part.message}): reload the page.</p>}
      <canvas role="img" aria-label={panel ? `${label}: ${panel.description}` : label} data-testid={testid} data-run={run} />
    </div>
  );
}
