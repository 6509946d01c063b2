// One probe through training: for each chosen run a strip of heatmaps, evenly spread over the logged steps.
import type { JSX } from "preact";
import { planeOf, type Frame } from "../data/decode";
import { mapBroken } from "../data/finite";
import { className, short } from "../data/format";
import type { RunState } from "../data/run";
import { KindCanvas } from "../kinds/KindCanvas";
import { groundOf } from "../data/source";
import { sharedParts, distinctPart } from "../state/names";
import { shownMap } from "../state/shown";
import { indexAtOrBefore } from "../data/steps";
import { HeatCanvas, Outlines } from "./canvases";
import { Dot } from "./Dot";
import css from "./film.css";
import { Broken, ClassMapCell, Input, type CardProps } from "./ProbeCard";
import { adopt } from "./sheets";

type FilmProps = Omit<CardProps, "near" | "size">;

export function Film({ model, runs, probes, index, name, picture, sources, outline, labels = null }: FilmProps): JSX.Element {
  adopt(css);
  const steps = model.filmSteps();
  const current = model.currentStep();
  const at = indexAtOrBefore(steps, current);
  const shared = sharedParts(runs.map((run) => run.listing.name));
  return (
    <div class={sources === null ? "film-body" : ""}>
      {sources === null && <Input probes={probes} index={index} name={name} picture={picture} outline={outline} labels={labels} slice={model.view.slice} />}
      <div class="strips">
        {runs.map((run) => (
          <div key={run.listing.run} class="strip" data-testid={`film-${index}`} data-run={run.listing.run}>
            <p class="of">
              <Dot run={run} />
              <bdi title={run.listing.name}>{short(distinctPart(run.listing.name, shared), 60)}</bdi>
            </p>
            <ol style={{ "--frames": String(steps.length) }}>
              {steps.map((step, i) => (
                <li key={step} class={i === at ? "now" : ""}>
                  <Still model={model} run={run} step={step} frame={model.frameAt(run, step)} probes={probes} index={index} name={name} sources={sources} outline={outline} />
                  <Predicted model={model} run={run} step={step} probes={probes} index={index} name={name} picture={picture} sources={sources} />
                  <button type="button" aria-label={`Go to step ${step}`} onClick={() => model.setView({ step })}>
                    {step}
                  </button>
                </li>
              ))}
            </ol>
          </div>
        ))}
      </div>
    </div>
  );
}

/** What is predicted at each place, below the heatmap of the same step; nothing where the output is none of maps. */
function Predicted({ model, run, step, probes, index, name, picture, sources }: Omit<FilmProps, "runs" | "outline"> & { run: RunState; step: number }): JSX.Element | null {
  const frame = model.frameAt(run, step);
  const map = frame?.predicted?.[index];
  if (!frame || !map) return null;
  const at = frame.header.step;
  return (
    <ClassMapCell
      map={map}
      picture={groundOf(picture, sources)}
      probes={probes}
      title="Predicted"
      of={`${name} in ${run.listing.name} at step ${at}`}
      testid={`film-predicted-${index}-${step}`}
      run={run.listing.run}
      step={at}
      slice={model.view.slice}
      alone={sources !== null}
      bare
    />
  );
}

interface StillProps extends Omit<FilmProps, "runs" | "picture"> {
  run: RunState;
  step: number;
  frame: Frame | null;
}

function Still({ model, run, step, frame, probes, index, name, sources, outline }: StillProps): JSX.Element {
  const { view } = model;
  const { height, width } = planeOf(probes.map_shape);
  const wanted = model.stepOf(run, step);
  // A difference to another run is one at the slider's step alone.
  const minus = view.minus && "step" in view.minus ? view.minus : null;
  const { map, limit, instead } = shownMap(run, frame, index, { ...view, minus }, model.selected());
  const message = wanted === null ? "not logged yet" : instead;
  const target = frame ? className(probes, frame.header.probes.target?.[index]) : "";
  return (
    <div class={sources === null ? "cell" : "cell of-kind"} data-probe={index} data-film-step={step} title={wanted && wanted.step !== step ? `step ${wanted.step}, the last one logged before` : ""}>
      {sources !== null && map !== null && frame !== null && (
        <KindCanvas
          sources={sources}
          map={map}
          limit={limit}
          step={frame.header.step}
          size="small"
          view={{ ...view, zoom: null }}
          label={`Relevance of ${name} in ${run.listing.name} at step ${frame.header.step}`}
          testid={`film-${index}-${step}`}
          run={run.listing.run}
        />
      )}
      <div class="layer">
        {map !== null && frame !== null && sources === null && (
          <HeatCanvas
            map={map}
            step={frame.header.step}
            limit={limit}
            colours={view.colours}
            gamma={Number(view.gamma)}
            overlay={false}
            opacity={1}
            label={`Relevance of ${name} for ${target} in ${run.listing.name} at step ${frame.header.step}`}
            testid={`film-${index}-${step}`}
            run={run.listing.run}
          />
        )}
        {message === null && sources === null && <Outlines outlines={outline} height={height} width={width} />}
      </div>
      {message === null && frame !== null && mapBroken(frame.header, index) && <Broken />}
      {message !== null && <p class="instead">{message}</p>}
    </div>
  );
}
