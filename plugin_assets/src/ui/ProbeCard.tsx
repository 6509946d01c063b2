// One probe: its input, and for each chosen run the heatmap of the step with a caption of figures.
import type { ComponentChildren, JSX } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { planeOf, type ClassMap, type HeatMap, type Picture } from "../data/decode";
import { mapBroken } from "../data/finite";
import { className, short } from "../data/format";
import { labelText } from "../data/labels";
import type { RunState } from "../data/run";
import { KindCanvas } from "../kinds/KindCanvas";
import type { Look } from "../kinds/panel";
import { groundOf, type Source } from "../data/source";
import type { Model } from "../state/model";
import { sharedParts, distinctPart } from "../state/names";
import { alertLimits, exceeded } from "../state/selection";
import { otherComposite, shownMap } from "../state/shown";
import type { ProbeNames, StepHeader } from "../data/types";
import type { View } from "../state/view";
import { HeatCanvas, maskStyle, Outlines, PictureCanvas, type MaskOutline } from "./canvases";
import { AlertBadge, Caption } from "./Caption";
import { Dot } from "./Dot";
import { Later } from "./Later";
import type { ClassMapProps } from "./ClassMapCell";
import { later } from "./lazy";
import { memo } from "./memo";

export interface CardProps {
  model: Model;
  runs: RunState[];
  probes: ProbeNames;
  /** Whether it is on the screen or just beyond; else it keeps its place, and its maps are not drawn. */
  near: boolean;
  index: number;
  name: string;
  picture: Picture | null;
  /** The inputs where the probe is more than a picture; null: it is one. */
  sources: readonly Source[] | null;
  outline: readonly MaskOutline[];
  /** The labels of all places, of an output of maps. */
  labels?: ClassMap | null;
  /** How much room there is. */
  size?: Look["size"];
}

/** A map of classes over its picture, by code that is loaded when it is first asked for. */
export const ClassMapCell = later<ClassMapProps>(() => import("./ClassMapCell").then((code) => code.ClassMapCell));

/** Longer names are cut in the middle: they must fit beside the mark, above the narrowest map. */
const MOST_LETTERS = 14;
const MOST_LABEL_LETTERS = 28;

export function ProbeCard({ model, runs, probes, near, index, name, picture, sources, outline, labels = null, size = "card" }: CardProps): JSX.Element {
  const { view } = model;
  const all = model.selected();
  const shared = sharedParts(all.map((run) => run.listing.name));
  const { minus } = view;
  const against = minus && "run" in minus ? all.find((run) => run.listing.run === minus.run) : undefined;
  return (
    <Card kind="" model={model} near={near} probes={probes} index={index} name={name}>
      {near && (
        <div class="maps">
          {sources === null && (view.show === "pair" || view.show === "film") && <Input probes={probes} index={index} name={name} picture={picture} outline={outline} labels={labels} slice={view.slice} />}
          {runs.map((run) => {
            const wanted = model.stepOf(run, model.currentStep());
            const frame = wanted === null ? null : run.frame;
            const failure = model.frameError(run);
            const { map, limit, instead, isDifference, over } = shownMap(run, frame, index, view, all);
            return (
              <Heat
                key={run.listing.run}
                run={run.listing.run}
                runName={run.listing.name}
                shortName={distinctPart(run.listing.name, shared)}
                order={run.order}
                pattern={run.pattern}
                named={all.length > 1}
                meta={run.info?.meta}
                probes={probes}
                index={index}
                name={name}
                picture={picture}
                sources={sources}
                size={size}
                features={view.features}
                slice={view.slice}
                zoom={view.zoom}
                outlines={view.outlines}
                outline={outline}
                header={frame?.header ?? null}
                labels={sources === null ? null : labels}
                predicted={frame?.predicted?.[index] ?? null}
                map={failure === null ? map : null}
                limit={limit}
                isDifference={isDifference}
                over={over?.map ?? null}
                overLimit={over?.limit ?? 0}
                by={view.by}
                reference={view.minus !== null && !isDifference && over === null}
                otherRules={(isDifference || over !== null) && otherComposite(run, against) !== null}
                instead={failure ?? (wanted === null && run.info !== null ? "not logged yet" : instead)}
                stale={model.isStale(run)}
                show={view.show}
                colours={view.colours}
                gamma={view.gamma}
                opacity={view.opacity}
              />
            );
          })}
        </div>
      )}
    </Card>
  );
}

/** A card's frame: where its maps are not drawn it is as high as with them. */
export function Card({ kind, model, near, probes, index, name, children }: Pick<CardProps, "model" | "near" | "probes" | "index" | "name"> & { kind: "" | " film"; children: ComponentChildren }): JSX.Element {
  return (
    <article class={`probe${kind}${near ? "" : " far"}`} data-testid={`probe-${index}`} data-probe={index} aria-label={name}>
      <CardHeader model={model} probes={probes} index={index} name={name} />
      {children}
    </article>
  );
}

/** The mark of a heatmap that is not finite: grey alone would look like one without relevance. */
export const Broken = (): JSX.Element => (
  <p class="broken" data-testid="broken" title="NaN or infinity in this heatmap, drawn grey">
    not finite
  </p>
);

type HeaderProps = Pick<CardProps, "model" | "probes" | "index" | "name">;

function CardHeader({ model, probes, index, name }: HeaderProps): JSX.Element {
  const button = useRef<HTMLButtonElement>(null);
  useLayoutEffect(() => {
    const { closed } = model;
    if (closed?.index === index && closed.hash === probes.hash) button.current?.focus();
  }, []);
  const label = labelText(probes, index);
  return (
    <header>
      <h3>
        <button type="button" class="open" title={`${name}: open large`} data-testid={`open-${index}`} ref={button} onClick={() => model.setView({ probe: { hash: probes.hash, index } })}>
          <bdi>{name}</bdi>
        </button>
      </h3>
      {label !== null && (
        <span class="label" title={`Labelled ${label}`}>
          label <bdi>{short(label, MOST_LABEL_LETTERS)}</bdi>
        </span>
      )}
    </header>
  );
}

interface InputProps {
  probes: ProbeNames;
  index: number;
  name: string;
  picture: Picture | null;
  outline: readonly MaskOutline[];
  labels?: ClassMap | null;
  slice: number;
}

export const Input = memo<InputProps>(function Input({ probes, index, name, picture, outline, labels, slice }) {
  const { height, width } = planeOf(probes.map_shape);
  return (
    <figure class="input">
      <div class="cell" data-probe={index}>
        <div class="layer">
          <PictureCanvas picture={picture} grey={false} label={`Input of ${name}`} testid={`input-${index}`} />
          <Outlines outlines={outline} height={height} width={width} />
        </div>
      </div>
      <figcaption>
        <p class="of">Input</p>
        {outline.map(({ mask, path }, order) =>
          path === "" ? null : (
            <p key={mask} class="of" title={`This line is drawn around the mask ${mask}`}>
              <span class={`mask-mark ${maskStyle(order)}`} />
              <bdi>{short(mask, 20)}</bdi>
            </p>
          ),
        )}
      </figcaption>
      {labels && <ClassMapCell map={labels} picture={picture} probes={probes} title="Labels" of={name} testid={`labels-${index}`} slice={slice} alone={false} />}
    </figure>
  );
});

interface HeatProps extends InputProps {
  run: string;
  runName: string;
  /** The part of its name that differs from those of the other chosen runs. */
  shortName: string;
  order: number;
  pattern: number;
  /** Whether several runs are shown, so that each heatmap needs its run's name. */
  named: boolean;
  meta: Record<string, unknown> | undefined;
  header: StepHeader | null;
  /** The classes predicted at each place, of an output of maps. */
  predicted: ClassMap | null;
  map: HeatMap | null;
  limit: number;
  isDifference: boolean;
  /** What is compared with it by eye. */
  over: HeatMap | null;
  overLimit: number;
  by: View["by"];
  /** Whether this is what the others' differences are to. */
  reference: boolean;
  /** Whether this is a difference to maps by other rules. */
  otherRules: boolean;
  instead: string | null;
  stale: boolean;
  show: View["show"];
  colours: View["colours"];
  gamma: View["gamma"];
  opacity: number;
  sources: readonly Source[] | null;
  size: Look["size"];
  features: View["features"];
  zoom: View["zoom"];
  outlines: boolean;
}

const Heat = memo<HeatProps>(function Heat(props) {
  const { run, runName, named, probes, index, name, picture, outline, header, map, limit } = props;
  const { height, width } = planeOf(probes.map_shape);
  const overlay = props.show === "overlay";
  const classes = props.instead === null && header ? props.predicted : null;
  const ofClasses = { picture: groundOf(picture, props.sources), probes, of: name, slice: props.slice, alone: props.sources !== null };
  const target = header ? className(probes, header.probes.target?.[index]) : "";
  const kind = props.isDifference ? "Difference of relevance" : "Relevance";
  const title = `${kind} of ${name}${target === "–" ? "" : ` for ${target}`} in ${runName} at step ${header?.step ?? "–"}`;
  const limits = alertLimits(props.meta);
  const alerts = exceeded(limits, (mask) => header?.probes[`mask_mass/${mask}`]?.[index]);
  let content: ComponentChildren = null;
  if (props.instead !== null) content = <p class="instead">{props.instead}</p>;
  else content = <Outlines outlines={outline} height={height} width={width} />;
  return (
    <figure class={`heat${props.stale ? " stale" : ""}`} data-run={run} data-step={header?.step}>
      <div class={props.sources === null ? "cell" : "cell of-kind"} data-probe={index} data-run={run}>
        {props.sources !== null && props.instead === null && header !== null && (
          <KindCanvas
            sources={props.sources}
            map={map}
            limit={limit}
            step={header.step}
            size={props.size}
            view={props}
            label={title}
            testid={`heatmap-${index}`}
            run={run}
          />
        )}
        <div class="layer">
          {overlay && props.sources === null && <PictureCanvas picture={picture} grey={true} label={`Input of ${name}`} />}
          {props.instead === null && header !== null && props.sources === null && (
            <HeatCanvas
              map={map}
              step={header.step}
              limit={limit}
              colours={props.colours}
              gamma={Number(props.gamma)}
              overlay={overlay}
              opacity={props.opacity}
              label={title}
              testid={`heatmap-${index}`}
              run={run}
            />
          )}
          {props.instead === null && props.sources === null && content}
        </div>
        {props.over !== null && header !== null && props.sources === null && (
          <div class={`over ${props.by}`} data-testid={`over-${index}`}>
            <div class="layer">
              {overlay && <PictureCanvas picture={picture} grey={true} label={`Input of ${name}`} />}
              <HeatCanvas
                map={props.over}
                step={header.step}
                limit={props.overLimit}
                colours={props.colours}
                gamma={Number(props.gamma)}
                overlay={overlay}
                opacity={props.opacity}
                label={`${title}: what it is compared with`}
                testid={`compared-${index}`}
                run={run}
              />
              {content}
            </div>
          </div>
        )}
        {props.instead !== null && content}
        {props.instead === null && mapBroken(header, index) && <Broken />}
        <AlertBadge masks={alerts} limits={limits} />
      </div>
      <figcaption data-testid={`caption-${index}`}>
        <p class="of" title={named ? `${runName}, relevance for ${target}` : `Relevance for ${target}`}>
          {named && <Dot run={{ order: props.order, pattern: props.pattern }} />}
          <bdi>{short(named ? props.shortName : target === "–" ? "Relevance" : `for ${target}`, MOST_LETTERS)}</bdi>
          {props.reference && <span class="aside">reference</span>}
          {props.otherRules && (
            <span class="aside warn" data-testid="other-rules" title="The two runs explain by different composites">
              other rules
            </span>
          )}
        </p>
        <Later>
          {() => (
            <Caption
              probes={probes}
              header={header}
              index={index}
              limit={map === null || (limit === 0 && mapBroken(header, index)) ? null : limit}
              isDifference={props.isDifference}
              alerts={limits}
            />
          )}
        </Later>
      </figcaption>
      {props.labels && <ClassMapCell {...ofClasses} map={props.labels} title="Labels" testid={`labels-${index}`} />}
      {classes && <ClassMapCell {...ofClasses} map={classes} title="Predicted" testid={`predicted-${index}`} run={run} step={header!.step} />}
    </figure>
  );
});
