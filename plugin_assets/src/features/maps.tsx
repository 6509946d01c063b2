// A channel's own heatmaps: one on a canvas of its own, or those of a row together on one.
import type { JSX } from "preact";
import { useLayoutEffect, useMemo, useRef } from "preact/hooks";
import type { HeatMap, Picture } from "../data/decode";
import { paintHeatMap, paintPicture, type ColourName } from "../paint/colormap";
import type { Model } from "../state/model";
import { pageColours } from "../kinds/KindCanvas";
import type { Look, Panel } from "../kinds/panel";
import { useTheme } from "../kinds/theme";
import { PictureCanvas, put } from "../ui/canvases";

interface ChannelMapProps {
  model: Model;
  map: HeatMap | null;
  picture: Picture | null;
  limit: number;
  over: boolean;
  /** Height and width of a picture, in pixels of the page. */
  side: number;
  label: string;
  title: string;
  /** The step whose map it is; null while another one is shown. */
  step: number | null;
  waiting: boolean;
}

export function ChannelMap({ model, map, picture, limit, over, side, label, title, step, waiting }: ChannelMapProps): JSX.Element {
  const ref = useRef<HTMLCanvasElement>(null);
  const { colours, gamma, opacity } = model.view;
  useLayoutEffect(() => {
    if (!ref.current || !map) return;
    put(ref.current, paintHeatMap(map, { colours, limit, gamma: Number(gamma), overlay: over }), map.height, map.width);
    ref.current.dataset.step = step === null ? "" : String(step);
  }, [map, colours, gamma, limit, over, step]);
  return (
    <span class="map" title={title} style={{ width: `${side}px`, height: `${side}px` }}>
      {(over || (map === null && !waiting)) && picture && <PictureCanvas picture={picture} grey={over} label="" />}
      {map !== null && <canvas ref={ref} role="img" aria-label={label} data-testid="channel-map" style={{ opacity: over ? opacity : 1 }} />}
      {map === null && !waiting && !picture && <span class="none">no map</span>}
    </span>
  );
}

/** One place of a row: a map, or where none is stored the sample itself, as a picture or as a drawing of its width. */
export interface Tile {
  map: HeatMap | null;
  picture: Picture | null;
  panel?: ((width: number, colours: Pick<Look, "ink" | "faint" | "ground">) => Panel) | undefined;
  /** What it shows. */
  description: string;
}

interface RowMapsProps {
  /** Null while they are on their way. */
  tiles: readonly Tile[] | null;
  count: number;
  side: number;
  limit: number;
  colours: ColourName;
  gamma: number;
  over: boolean;
  opacity: number;
  label: string;
  step: number | null;
  testid: string;
  /** Stands where there is nothing to draw. */
  instead: string;
}

/** Around a map of a row, and between two, in pixels of the page. */
const EDGE = 1;
const GAP = 4;
const outer = (side: number): number => side + 2 * EDGE;
export const widthOf = (count: number, side: number): number => count * (outer(side) + GAP) - GAP;

/** The maps of a row on one canvas: a canvas each would be a layer each for the browser to lay over the page. */
export function RowMaps({ tiles, count, side, limit, colours, gamma, over, opacity, label, step, testid, instead }: RowMapsProps): JSX.Element {
  const ref = useRef<HTMLCanvasElement>(null);
  const theme = useTheme();
  const [width, height, pitch] = [widthOf(count, side), outer(side), outer(side) + GAP];
  const description = useMemo(() => tiles?.map((tile) => tile.description).join("; ") ?? "", [tiles]);
  useLayoutEffect(() => {
    const canvas = ref.current;
    if (!canvas) return;
    const context = sized(canvas, width, height);
    const left = (i: number): number => i * pitch + EDGE;
    const draw = (from: HTMLCanvasElement, top: number, { height: high, width: wide }: { height: number; width: number }, i: number): void => {
      context.imageSmoothingEnabled = wide > side && high > side;
      context.drawImage(from, 0, top, wide, high, left(i), EDGE, side, side);
    };
    (tiles ?? []).forEach((tile, i) => {
      if (tile.panel) inside(context, left(i), side, tile.panel, pageColours(canvas));
      else if (tile.picture && (over || tile.map === null)) draw(onScratch(paintPicture(tile.picture, over && tile.map !== null), tile.picture), 0, tile.picture, i);
      else if (tile.map === null) nothing(context, left(i), side, canvas, instead);
    });
    // One below the other they are one picture: each put on a canvas by itself is a copy of that canvas when it is drawn.
    const maps = (tiles ?? []).flatMap(({ map, panel }, i) => (map && !panel ? [{ map, i }] : []));
    const plane = maps[0]?.map;
    if (plane) {
      const words = new Uint32Array(maps.length * plane.height * plane.width);
      maps.forEach(({ map }, k) => words.set(paintHeatMap(map, { colours, limit, gamma, overlay: over }), k * plane.height * plane.width));
      const all = onScratch(words, { height: maps.length * plane.height, width: plane.width });
      context.globalAlpha = over ? opacity : 1;
      maps.forEach(({ i }, k) => draw(all, k * plane.height, plane, i));
      context.globalAlpha = 1;
    }
    canvas.dataset.maps = String(tiles?.filter(({ map }) => map !== null).length ?? 0);
    canvas.dataset.step = tiles === null || step === null ? "" : String(step);
  }, [tiles, side, width, limit, colours, gamma, over, opacity, theme]);
  useLayoutEffect(() => {
    if (ref.current && tiles !== null && step !== null) ref.current.dataset.step = String(step);
  }, [tiles, step]);
  // Behind the maps, so that a theme sets their colour.
  const edges = `repeating-linear-gradient(90deg, var(--border) 0 ${outer(side)}px, transparent 0 ${pitch}px) 0 0 / ${(tiles?.length ?? count) * pitch}px no-repeat`;
  const point = (event: PointerEvent & { currentTarget: HTMLCanvasElement }): void => {
    const box = event.currentTarget.getBoundingClientRect();
    const title = tiles?.[Math.floor(((event.clientX - box.left) / box.width) * count)]?.description ?? "";
    if (event.currentTarget.title !== title) event.currentTarget.title = title;
  };
  return (
    <canvas ref={ref} role="img" aria-label={`${label}: ${description}`} data-testid={testid} style={{ width: `${width}px`, height: `${height}px`, background: edges }} onPointerMove={point} />
  );
}

/** The canvas cleared, in the screen's own pixels, drawn on in the page's. */
function sized(canvas: HTMLCanvasElement, width: number, height: number): CanvasRenderingContext2D {
  const ratio = window.devicePixelRatio || 1;
  const [across, down] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== across) canvas.width = across;
  if (canvas.height !== down) canvas.height = down;
  const context = canvas.getContext("2d");
  if (!context) throw new Error("this browser gives no 2D canvas");
  context.setTransform(across / width, 0, 0, down / height, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

let scratch: HTMLCanvasElement | null = null;

/** RGBA words on a canvas that is not on the page. */
function onScratch(words: Uint32Array, { height, width }: { height: number; width: number }): HTMLCanvasElement {
  scratch ??= document.createElement("canvas");
  put(scratch, words, height, width);
  return scratch;
}

function nothing(context: CanvasRenderingContext2D, left: number, side: number, canvas: HTMLCanvasElement, words: string): void {
  const { faint, ground } = pageColours(canvas);
  context.fillStyle = ground;
  context.fillRect(left, EDGE, side, side);
  context.fillStyle = faint;
  context.font = "9.5px sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(words, left + side / 2, EDGE + side / 2, side);
}

/** A panel in a square, what is higher cut off. */
function inside(context: CanvasRenderingContext2D, left: number, side: number, panel: NonNullable<Tile["panel"]>, colours: ReturnType<typeof pageColours>): void {
  context.save();
  context.fillStyle = colours.ground;
  context.fillRect(left, EDGE, side, side);
  context.beginPath();
  context.rect(left, EDGE, side, side);
  context.clip();
  context.translate(left, EDGE);
  panel(side, colours).paint(context);
  context.restore();
}
