// A map of classes over its picture: labels, or what is predicted.
import type { JSX } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import type { ClassMap, Picture } from "../data/decode";
import { className, short } from "../data/format";
import type { ProbeNames } from "../data/types";
import { classCss, classesOn, paintClasses } from "../paint/classes";
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
}

const MOST_NAMED = 6;
const MOST_LETTERS = 14;

export function ClassMapCell({ map, picture, probes, title, of, testid, run, step }: ClassMapProps): JSX.Element {
  adopt(css);
  const ref = useRef<HTMLCanvasElement>(null);
  useLayoutEffect(() => {
    if (!ref.current) return;
    put(ref.current, paintClasses(map), map.height, map.width);
    ref.current.dataset[step === undefined ? "painted" : "step"] = String(step ?? "yes");
  }, [map, step]);
  const classes = classesOn(map);
  const named = classes.slice(0, MOST_NAMED).map((label) => className(probes, label));
  const label = `${title} of ${of}: ${named.join(", ") || className(probes, 0)}`;
  return (
    <>
      <p class="of class-title">{title}</p>
      <div class="cell of-classes">
        <div class="layer">
          <PictureCanvas picture={picture} grey={true} label={`Input of ${of}`} />
          <canvas ref={ref} role="img" aria-label={label} data-testid={testid} data-run={run} />
        </div>
      </div>
      <ul class="class-key">
        {classes.slice(0, MOST_NAMED).map((one) => (
          <li key={one} title={className(probes, one)}>
            <i style={{ background: classCss(one) }} />
            <bdi>{short(className(probes, one), MOST_LETTERS)}</bdi>
          </li>
        ))}
        {classes.length > MOST_NAMED && <li>{classes.length - MOST_NAMED} more</li>}
      </ul>
    </>
  );
}
