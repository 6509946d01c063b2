// Linked zoom of all maps: one window onto the map, the same in every cell.
import { MOST_ZOOM, type Zoom } from "./view";

const LEAST = 1.02;

/** A zoom whose window lies inside the map; null where the whole map is seen. */
export function settleZoom({ times, x, y }: Zoom): Zoom | null {
  if (!(times > LEAST)) return null;
  const near = Math.min(MOST_ZOOM, times);
  const half = 1 / (2 * near);
  const inside = (at: number): number => Math.min(1 - half, Math.max(half, at));
  return { times: near, x: inside(x), y: inside(y) };
}

const WHOLE: Zoom = { times: 1, x: 0.5, y: 0.5 };

/** The point of the map (0 ... 1) that is seen at a point of a cell (0 ... 1). */
export function mapPoint(zoom: Zoom | null, u: number, v: number): [number, number] {
  const { times, x, y } = zoom ?? WHOLE;
  return [x + (u - 0.5) / times, y + (v - 0.5) / times];
}

/** Zooms by a factor; what is seen at the point (u, v) of a cell stays there as far as the map's edges allow. */
export function zoomAt(zoom: Zoom | null, factor: number, u = 0.5, v = 0.5): Zoom | null {
  const times = Math.min(MOST_ZOOM, Math.max(1, (zoom ?? WHOLE).times * factor));
  const [px, py] = mapPoint(zoom, u, v);
  return settleZoom({ times, x: px - (u - 0.5) / times, y: py - (v - 0.5) / times });
}

/** Moves the picture by a share of a cell's width and height. */
export function pan(zoom: Zoom | null, du: number, dv: number): Zoom | null {
  return zoom && settleZoom({ times: zoom.times, x: zoom.x - du / zoom.times, y: zoom.y - dv / zoom.times });
}

/** The CSS transform (origin in the top left corner) of a layer as large as its cell. */
export function transformOf(zoom: Zoom | null): string {
  if (zoom === null) return "none";
  const { times, x, y } = zoom;
  return `translate(${(100 * (0.5 - times * x)).toFixed(3)}%, ${(100 * (0.5 - times * y)).toFixed(3)}%) scale(${times})`;
}
