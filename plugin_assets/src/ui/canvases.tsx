// Canvases of an input and of a heatmap. They are painted before the browser shows the frame in which they changed.
import type { JSX } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { paintHeatMap, paintPicture, type ColourName } from "../paint/colormap";
import type { HeatMap, Picture } from "../data/decode";

/** Puts RGBA words on a canvas, in the map's own pixels. */
export function put(canvas: HTMLCanvasElement, words: Uint32Array, height: number, width: number): void {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const context = canvas.getContext("2d");
  if (!context) throw new Error("this browser gives no 2D canvas");
  const pixels = new Uint8ClampedArray(words.buffer as ArrayBuffer, words.byteOffset, words.byteLength);
  context.putImageData(new ImageData(pixels, width, height), 0, 0);
}

interface PictureCanvasProps {
  picture: Picture | null;
  grey: boolean;
  /** What it shows; "" behind something with a label of its own. */
  label: string;
  testid?: string;
}

export function PictureCanvas({ picture, grey, label, testid }: PictureCanvasProps): JSX.Element {
  const ref = useRef<HTMLCanvasElement>(null);
  useLayoutEffect(() => {
    if (!ref.current || !picture) return;
    put(ref.current, paintPicture(picture, grey), picture.height, picture.width);
    ref.current.dataset.painted = "yes";
  }, [picture, grey]);
  return <canvas ref={ref} {...(label === "" ? { "aria-hidden": true } : { role: "img", "aria-label": label })} data-testid={testid} />;
}

interface HeatCanvasProps {
  /** Null while it is on its way: then nothing is drawn. */
  map: HeatMap | null;
  step: number;
  limit: number;
  colours: ColourName;
  gamma: number;
  overlay: boolean;
  opacity: number;
  label: string;
  testid: string;
  run: string;
}

export function HeatCanvas(props: HeatCanvasProps): JSX.Element {
  const { map, step, limit, colours, gamma, overlay, opacity, label, testid, run } = props;
  const ref = useRef<HTMLCanvasElement>(null);
  useLayoutEffect(() => {
    if (!ref.current) return;
    if (map === null) {
      ref.current.width = 0;
      delete ref.current.dataset.step;
      return;
    }
    put(ref.current, paintHeatMap(map, { limit, colours, gamma, overlay }), map.height, map.width);
    ref.current.dataset.step = String(step);
  }, [map, step, limit, colours, gamma, overlay]);
  return (
    <canvas
      ref={ref}
      role="img"
      aria-label={label}
      data-testid={testid}
      data-run={run}
      style={{ opacity: overlay ? opacity : 1 }}
    />
  );
}

/** How the outlines of the first, second and further masks are drawn. */
export const maskStyle = (order: number): string => `mask-${Math.min(order, 2)}`;

export interface MaskOutline {
  mask: string;
  /** SVG path in pixels of the map; "" where the probe has no such mask. */
  path: string;
}

interface OutlinesProps {
  outlines: readonly MaskOutline[];
  height: number;
  width: number;
}

/** Outlines of the masks over a picture: a dark line on a light one is seen on any ground. */
export function Outlines({ outlines, height, width }: OutlinesProps): JSX.Element {
  return (
    <svg class="outlines" viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none" aria-hidden="true">
      {outlines.map(({ mask, path }, order) => (
        <g key={mask}>
          <path class="halo" d={path} />
          <path class={`line ${maskStyle(order)}`} d={path} />
        </g>
      ))}
    </svg>
  );
}
