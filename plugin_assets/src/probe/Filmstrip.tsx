// All logged steps of one probe in a row per run: only what is in view is loaded and drawn. A click goes to the step.
import { Fragment, type JSX } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { planeOf, type HeatMap, type Picture } from "../data/decode";
import { className, number, percent } from "../data/format";
import { answerText, isAnswerRight } from "../data/labels";
import type { RunState } from "../data/run";
import { groundOf, type Source } from "../data/source";
import type { Model } from "../state/model";
import type { ProbeNames, Timeline } from "../data/types";
import { Dot } from "../ui/Dot";
import { useSize } from "../ui/hooks";
import { column, columnsAt, type ProbeData } from "./probedata";
import { put } from "../ui/canvases";
import type { FilmFrame } from "./film";
import { paintClassesOver, paintKey, paintMap, paintThumb } from "./paint";

const HEIGHT = 68;
const LEAST_WIDTH = 46;
const MOST_WIDTH = 160;
const OF_KIND = 110;
const GAP = 4;
const AHEAD = 6;

interface FilmstripProps {
  model: Model;
  data: ProbeData;
  runs: readonly RunState[];
  probes: ProbeNames;
  index: number;
  picture: Picture | null;
  sources: readonly Source[] | null;
  /** Called with the steps that are in view. */
  inView: (steps: readonly number[]) => void;
}

export function Filmstrip({ model, data, runs, probes, index, picture, sources, inView }: FilmstripProps): JSX.Element {
  const steps = model.steps();
  const current = model.currentStep();
  const place = model.indexOf(current);
  const { height, width } = planeOf(probes.map_shape);
  const cell = sources ? OF_KIND : Math.min(MOST_WIDTH, Math.max(LEAST_WIDTH, Math.round((HEIGHT * width) / height)));
  const [ref, room] = useSize<HTMLDivElement>();
  const [left, setLeft] = useState(0);
  const pitch = cell + GAP;
  const rows = runs.flatMap((run) => (run.frame?.predicted ? [run, "predicted" as const] : [run]));
  const first = Math.max(0, Math.floor(left / pitch) - AHEAD);
  const end = Math.min(steps.length, Math.ceil((left + room) / pitch) + AHEAD);
  const shown = useMemo(() => steps.slice(first, end), [steps, first, end]);
  useEffect(() => inView(shown), [shown]);
  // The step that is shown stays in view; where the user has scrolled away, only until it moves.
  const settled = useRef<string>("");
  useLayoutEffect(() => {
    const box = ref.current;
    const wish = `${place} ${steps.length} ${room}`;
    if (!box || place < 0 || room === 0 || settled.current === wish) return;
    settled.current = wish;
    const at = place * pitch;
    if (at < box.scrollLeft || at + cell > box.scrollLeft + room) box.scrollLeft = at - (room - cell) / 2;
    setLeft(box.scrollLeft);
  }, [place, steps.length, room]);
  return (
    <div class="film">
      <ul class="film-runs" aria-hidden="true">
        {rows.map((row, i) =>
          row === "predicted" ? (
            <li key={i}>predicted</li>
          ) : (
            <li key={i} title={row.listing.name}>
              <Dot run={row} />
              <bdi class="name">{row.listing.name}</bdi>
            </li>
          ),
        )}
      </ul>
      <div
        ref={ref}
        class="film-scroll"
        data-testid="film"
        data-steps={steps.length}
        onScroll={(event) => setLeft(event.currentTarget.scrollLeft)}
      >
        <ol class="film-steps" style={{ width: `${steps.length * pitch - GAP}px`, height: `${rows.length * (HEIGHT + GAP) + 20}px` }}>
          {shown.map((step, i) => (
            <li key={step} style={{ left: `${(first + i) * pitch}px`, width: `${cell}px` }}>
              <button
                type="button"
                class={step === current ? "film-step on" : "film-step"}
                data-testid={`film-${step}`}
                tabIndex={step === current ? 0 : -1}
                aria-current={step === current ? "step" : undefined}
                aria-label={describe(data, runs, probes, step)}
                onClick={() => model.setView({ step })}
              >
                {runs.map((run) => (
                  <Fragment key={run.listing.run}>
                    <Thumb model={model} data={data} run={run} probes={probes} index={index} step={step} sources={sources} width={cell} />
                    {run.frame?.predicted && <ClassThumb frame={data.frame(run, step)} run={run} picture={groundOf(picture, sources)} slice={model.view.slice} />}
                  </Fragment>
                ))}
                <span class="film-number">{step}</span>
              </button>
            </li>
          ))}
        </ol>
      </div>
    </div>
  );
}

interface ThumbProps {
  model: Model;
  data: ProbeData;
  run: RunState;
  probes: ProbeNames;
  index: number;
  step: number;
  sources: readonly Source[] | null;
  width: number;
}

function Thumb({ model, data, run, probes, index, step, sources, width }: ThumbProps): JSX.Element {
  const frame = data.frame(run, step);
  const map: HeatMap | null = typeof frame === "object" ? frame.map : null;
  const ref = useRef<HTMLCanvasElement>(null);
  useLayoutEffect(() => {
    if (!ref.current || !map) return;
    if (sources) paintThumb(ref.current, model, run, index, map, sources, width, HEIGHT);
    else put(ref.current, paintMap(model, run, index, map), map.height, map.width);
    ref.current.dataset.painted = String(step);
  }, [map, index, sources, ...paintKey(model), model.view.slice, model.view.features]);
  const logged = run.info?.steps.some((info) => info.step === step) ?? false;
  const instead = !logged ? "–" : typeof frame === "string" ? "!" : frame !== undefined && map === null ? "not stored" : null;
  const answer = answerAt(data, run, probes, index, step);
  const broken = map !== null && predictedAt(data.timeline(run), step) === null;
  return (
    <span class={`thumb${answer ? ` ${answer}` : ""}`} title={typeof frame === "string" ? frame : undefined}>
      {map !== null && <canvas ref={ref} data-run={run.listing.run} data-thumb={step} />}
      {instead !== null && <span class="thumb-text">{instead}</span>}
      {broken && (
        <span class="thumb-text broken" data-testid="thumb-broken" title="The logits are not finite">
          NaN
        </span>
      )}
    </span>
  );
}

/** What is predicted at each place, over the grey input. */
function ClassThumb({ frame, run, picture, slice }: { frame: FilmFrame | string | undefined; run: RunState; picture: Picture | null; slice: number }): JSX.Element {
  const map = typeof frame === "object" ? frame.predicted : null;
  const ref = useRef<HTMLCanvasElement>(null);
  useLayoutEffect(() => {
    if (!ref.current || !map) return;
    paintClassesOver(ref.current, map, picture, slice);
    ref.current.dataset.painted = "yes";
  }, [map, picture, slice]);
  return <span class={map && map.depth > 1 ? "thumb of-slices" : "thumb"}>{map && <canvas ref={ref} data-run={run.listing.run} data-class-thumb={(frame as FilmFrame).step} />}</span>;
}

/** The class predicted at a step: null where there is none, undefined where nothing of it was logged. */
const predictedAt = (timeline: Timeline | null, step: number): number | null | undefined =>
  timeline?.probes.prediction?.[timeline.steps.indexOf(step)]?.[0];

function answerAt(data: ProbeData, run: RunState, probes: ProbeNames, index: number, step: number): "right" | "wrong" | null {
  const right = isAnswerRight(probes, index, columnsAt(data.timeline(run), step));
  return right === null ? null : right ? "right" : "wrong";
}

function describe(data: ProbeData, runs: readonly RunState[], probes: ProbeNames, step: number): string {
  const parts = runs.map((run) => {
    const timeline = data.timeline(run);
    const at = timeline ? timeline.steps.indexOf(step) : -1;
    if (timeline === null || at < 0) return `${run.listing.name}: not logged`;
    if (timeline.probes.output !== undefined) return `${run.listing.name} predicts ${number(column(timeline, "output")[at])}`;
    if (timeline.probes.prediction === undefined) return `${run.listing.name} explains a region of the output`;
    const predicted = answerText(probes, columnsAt(timeline, step));
    const target = className(probes, column(timeline, "target")[at]);
    return `${run.listing.name} predicts ${predicted}, probability of ${target} ${percent(column(timeline, "probability")[at])}`;
  });
  return `Step ${step}. ${parts.join(". ")}`;
}
