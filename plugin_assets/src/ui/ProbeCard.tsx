// One probe: its input, and for each chosen run the heatmap of the step with a caption that tells what it shows.
import type { ComponentChildren, JSX } from "preact";
import { planeOf, type Picture } from "../decode";
import { className, number, percent } from "../format";
import { colourLimit } from "../limits";
import type { RunState } from "../jobs";
import type { Model } from "../model";
import type { ProbeNames, StepHeader } from "../types";
import { HeatCanvas, maskStyle, Outlines, PictureCanvas, type MaskOutline } from "./canvases";
import { runColour } from "./colours";

interface CardProps {
  model: Model;
  runs: RunState[];
  probes: ProbeNames;
  index: number;
  name: string;
  picture: Picture | null;
  outline: MaskOutline[];
}

export function ProbeCard({ model, runs, probes, index, name, picture, outline }: CardProps): JSX.Element {
  const { show } = model.view;
  const label = probes.labels ? className(probes, probes.labels[index]) : null;
  const { height, width } = planeOf(probes.map_shape);
  return (
    <article class="probe" data-testid={`probe-${index}`} aria-label={name}>
      <header>
        <h3 title={name}>
          <button
            type="button"
            class="open"
            data-testid={`open-${index}`}
            onClick={() => model.setView({ probe: { hash: probes.hash, index } })}
          >
            <bdi>{name}</bdi>
          </button>
        </h3>
        {label !== null && (
          <span class="label" title={`Labelled ${label}`}>
            label <bdi>{label}</bdi>
          </span>
        )}
      </header>
      <div class="maps">
        {show === "pair" && (
          <figure class="input">
            <div class="cell">
              <PictureCanvas picture={picture} grey={false} label={`Input of ${name}`} testid={`input-${index}`} />
              <Outlines outlines={outline} height={height} width={width} />
            </div>
            <figcaption>
              <p class="of">Input</p>
              {outline.map(({ mask, path }, order) =>
                path === "" ? null : (
                  <p key={mask} class="of" title={`This line is drawn around the mask ${mask}`}>
                    <span class={`mask-mark ${maskStyle(order)}`} />
                    <bdi>{mask}</bdi>
                  </p>
                ),
              )}
            </figcaption>
          </figure>
        )}
        {runs.map((run) => (
          <Heat
            key={run.listing.run}
            model={model}
            run={run}
            probes={probes}
            index={index}
            name={name}
            picture={picture}
            outline={outline}
            named={model.selected().length > 1}
          />
        ))}
      </div>
    </article>
  );
}

interface HeatProps extends Omit<CardProps, "runs"> {
  run: RunState;
  named: boolean;
}

function Heat({ model, run, probes, index, name, picture, outline, named }: HeatProps): JSX.Element {
  const { view } = model;
  const { height, width } = planeOf(probes.map_shape);
  const wanted = model.stepOf(run, model.currentStep());
  const frame = wanted === null ? null : run.frame;
  const map = frame?.maps[index] ?? null;
  const stale = frame !== null && !model.isSettled(run);
  const failure = model.frameError(run);
  const overlay = view.show === "overlay";
  const target = frame ? className(probes, frame.header.probes.target?.[index]) : "";
  const title = `Relevance of ${name} for ${target} in ${run.listing.name} at step ${frame?.header.step ?? "–"}`;
  let instead: ComponentChildren = null;
  if (failure !== null) instead = failure;
  else if (wanted === null && run.info !== null) instead = "not logged yet";
  else if (frame !== null && map === null) instead = "not stored";
  return (
    <figure class={`heat${stale ? " stale" : ""}`} data-run={run.listing.run} data-step={frame?.header.step}>
      <div class="cell">
        {overlay && <PictureCanvas picture={picture} grey={true} label={`Input of ${name}`} />}
        {map !== null && failure === null && (
          <HeatCanvas
            map={map}
            step={frame!.header.step}
            limit={colourLimit(view.scale, map, run.timeline, index)}
            colours={view.colours}
            overlay={overlay}
            opacity={view.opacity}
            label={title}
            testid={`heatmap-${index}`}
            run={run.listing.run}
          />
        )}
        {instead !== null ? <p class="instead">{instead}</p> : <Outlines outlines={outline} height={height} width={width} />}
      </div>
      <figcaption data-testid={`caption-${index}`}>
        <p class="of" title={named ? `${run.listing.name}, relevance for ${target}` : `Relevance for ${target}`}>
          {named && <span class="dot" style={{ background: runColour(run.order) }} />}
          <bdi>{named ? run.listing.name : `for ${target}`}</bdi>
        </p>
        <Caption
          probes={probes}
          header={frame?.header ?? null}
          index={index}
          limit={map === null ? null : colourLimit(view.scale, map, run.timeline, index)}
        />
      </figcaption>
    </figure>
  );
}

interface CaptionProps {
  probes: ProbeNames;
  header: StepHeader | null;
  index: number;
  limit: number | null;
}

function Caption({ probes, header, index, limit }: CaptionProps): JSX.Element {
  const of = (column: string): number | null => header?.probes[column]?.[index] ?? null;
  const predicted = of("prediction");
  const right = probes.labels && predicted !== null ? predicted === probes.labels[index] : null;
  const target = className(probes, of("target"));
  return (
    <dl>
      <dt>predicts</dt>
      <dd class={right === null ? "" : right ? "right" : "wrong"} title={className(probes, predicted)}>
        {right !== null && <span class="mark">{right ? "✓" : "✗"}</span>}
        {right !== null && <span class="hidden">{right ? "right: " : "wrong: "}</span>}
        <bdi>{className(probes, predicted)}</bdi>
        {predicted !== of("target") && of("prediction_probability") !== null && ` ${percent(of("prediction_probability"))}`}
      </dd>
      <dt title={`Probability of the explained class, ${target}`}>
        P(<bdi>{target}</bdi>)
      </dt>
      <dd>{percent(of("probability"))}</dd>
      <dt title="Sum of the relevance of all pixels over the explained logit: 1 where the rules conserve it">
        <span class="hidden">Sum of relevance over logit</span>
        <span aria-hidden="true">Σ R / logit</span>
      </dt>
      <dd>{number(of("conservation"))}</dd>
      <dt title="The relevance at full colour">full colour</dt>
      <dd>{limit === null ? "–" : `±${number(limit)}`}</dd>
      {probes.masks.map((mask) => (
        <Mass key={mask} mask={mask} value={of(`mask_mass/${mask}`)} />
      ))}
    </dl>
  );
}

/** The share of the positive relevance that lies inside a mask, as a number and a bar. */
function Mass({ mask, value }: { mask: string; value: number | null }): JSX.Element {
  const title = `Share of the positive relevance inside the mask ${mask}`;
  return (
    <>
      <dt title={title}>
        in <bdi>{mask}</bdi>
      </dt>
      <dd title={title}>{value === null ? "no mask" : percent(value)}</dd>
      <div class="meter" aria-hidden="true">
        <span style={{ width: `${100 * Math.min(1, Math.max(0, value ?? 0))}%` }} />
      </div>
    </>
  );
}
