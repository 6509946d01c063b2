// A channel's own heatmap of a probe, over its input or beside it.
import type { JSX } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import type { HeatMap, Picture } from "../data/decode";
import { paintHeatMap } from "../paint/colormap";
import type { Model } from "../state/model";
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
