// A map of classes over its picture: labels, or what is predicted.
import type { JSX } from "preact";
import { useLayoutEffect, useMemo, useRef } from "preact/hooks";
import type { ClassMap, Picture } from "../data/decode";
import { className, short } from "../data/format";
import type { ProbeNames } from "../data/types";
import { classCss, classesOn, paintClasses, sliceOf } from "../paint/classes";
import { PictureCanvas, put } from "./canvases";
import css from "./classmap.css";
import { adopt } from "./sheets";

export interface ClassMapProps {
  map: ClassMap;
  picture: Picture | null;
  probes: ProbeNames;
  /** "Labels" or "Predicted". */
  title: string;
  of: string;
  testid: string;
  run?: string;
  step?: number;
  /** Place of the slice of a volume that is shown, 0 ... 1. */
  slice: number;
  /** Whether the cell has its own proportions, not those of the heatmap beside it. */
  alone: boolean;
  /** Without title and key, as in a film. */
  bare?: boolean;
}

const MOST_NAMED = 6;
const MOST_LETTERS = 14;

export function ClassMapCell({ map: whole, picture: sheet, probes, title, of, testid, run, step, slice, alone, bare = false }: ClassMapProps): JSX.Element {
  adopt(css);
  const ref = useRef<HTMLCanvasElement>(null);
  const [map, picture] = useMemo(() => [sliceOf(whole, whole.depth, slice), sheet && sliceOf(sheet, whole.depth, slice)], [whole, sheet, slice]);
  useLayoutEffect(() => {
    if (!ref.current) return;
    put(ref.current, paintClasses(map), map.height, map.width);
    ref.current.dataset[step === undefined ? "painted" : "step"] = String(step ?? "yes");
  }, [map, step]);
  const classes = classesOn(map);
  const named = classes.slice(0, MOST_NAMED).map((label) => className(probes, label));
  const label = `${title} of ${of}: ${named.join(", ") || className(probes, 0)}`;
  const row = map.height === 1;
  return (
    <>
      {!bare && <p class="of class-title">{title}</p>}
      <div class={`cell of-classes${row ? " row" : alone && !bare ? " alone" : ""}`} data-title={title} style={alone && !row ? { aspectRatio: `${map.width} / ${map.height}` } : undefined}>
        <div class="layer">
          {!row && <PictureCanvas picture={picture} grey={true} label={bare ? "" : `Input of ${of}`} />}
          <canvas ref={ref} role="img" aria-label={label} data-testid={testid} data-run={run} />
        </div>
      </div>
      {!bare && (
        <ul class="class-key">
          {classes.slice(0, MOST_NAMED).map((one) => (
            <li key={one} title={className(probes, one)}>
              <i style={{ background: classCss(one) }} />
              <bdi>{short(className(probes, one), MOST_LETTERS)}</bdi>
            </li>
          ))}
          {classes.length > MOST_NAMED && <li>{classes.length - MOST_NAMED} more</li>}
        </ul>
      )}
    </>
  );
}
