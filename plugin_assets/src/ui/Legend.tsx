// The line that explains what the colours mean, and what a reader must know of the step that is shown.
import type { JSX } from "preact";
import { COLOURS, cssGradient } from "../paint/colormap";
import { atStep } from "../data/finite";
import { count, number, plural, short } from "../data/format";
import type { RunState } from "../data/run";
import { isPicture } from "../data/source";
import type { Model } from "../state/model";
import { Hint } from "./Hint";
import { sharedParts, distinctPart } from "../state/names";
import { compositeText, minusText, overText, softness } from "../state/shown";
import type { StepInfo } from "../data/types";

export function Legend({ model }: { model: Model }): JSX.Element {
  const { view } = model;
  const { negative, positive } = COLOURS[view.colours];
  const eye = overText(view, model.selected());
  const minus = eye === null ? minusText(view, model.selected()) : null;
  const infos = model.selected().flatMap((run) => (run.info ? [run.info] : []));
  const what = infos.length > 0 && infos.every((info) => info.meta.explains === "number") ? "what is predicted" : "the explained class";
  const noun = infos.every((info) => isPicture(info.probes)) ? "pixels" : "places";
  const [more, less] =
    minus === null
      ? [`speak for ${what}`, "against it"]
      : "step" in view.minus!
        ? ["gained relevance", "lost it"]
        : ["are more relevant than in the reference", "less"];
  return (
    <div class="legend" data-testid="legend">
      <span class="swatch" style={{ background: cssGradient(view.colours) }} aria-hidden="true" />
      <p>
        <strong>{capital(positive)}</strong> {noun} {more}
        {negative === null ? "; negative ones are not shown." : <>, <strong>{negative}</strong> {noun} {less}.</>}
      </p>
      <Remarks model={model} minus={minus ?? eye} />
    </div>
  );
}

const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

/** What a reader must know of this step: untrained, maps not stored, another step shown, notes of the log. */
function Remarks({ model, minus }: { model: Model; minus: string | null }): JSX.Element {
  const current = model.currentStep();
  const runs = model.selected();
  const whose = new Map<string, { title: string; names: string[] }>();
  const shared = sharedParts(runs.map((run) => run.listing.name));
  for (const run of runs) {
    for (const [text, title] of remarksOf(run, model.stepOf(run, current), current)) {
      const found = whose.get(text) ?? { title, names: [] };
      found.names.push(short(distinctPart(run.listing.name, shared), 24));
      whose.set(text, found);
    }
  }
  const general: [string, string][] = [];
  if (minus !== null) general.push([minus, "Chosen on the left under Display"]);
  const rules = compositeText(model.view, runs);
  if (rules !== null) general.push([rules, "The difference is one of rules as well as of models: it does not separate the two"]);
  if (model.view.clip !== "100") {
    general.push([`clipped at the ${model.view.clip}th percentile`, "Stronger relevance has the colour of that percentile"]);
  }
  const soft = Math.max(0, ...runs.map((run) => softness(run, model.view)));
  if (soft > 0) {
    general.push([`maps smoothed over ${plural(soft, "pixel")}`, "By a Gaussian, for the eye; the figures are those of the maps as logged"]);
  }
  const kept = runs.map(keptOf).find((share) => share !== null && (share < 0.05 || share > 20));
  if (kept !== undefined) {
    general.push([`Σ R / logit about ${number(kept)}`, "Usual where rules share relevance out by positive parts (z+, alpha-beta) on networks with biases: the maps localise well all the same. Help (?) says more"]);
  }
  const sampled = model.view.show === "film" ? model.filmSteps().length : 0;
  if (sampled > 0 && sampled < model.steps().length) {
    general.push([`film: ${sampled} of ${count(model.steps().length)} logged steps`, "Evenly spread; a click on a probe’s name shows all"]);
  }
  return (
    <ul class="remarks" data-testid="remarks" aria-live="polite">
      {general.map(([text, title]) => (
        <li key={text}>
          <Hint text={title}>
            <bdi>{text}</bdi>
          </Hint>
        </li>
      ))}
      {[...whose].map(([text, { title, names }]) => (
        <li key={text}>
          <Hint text={title || text}>
          {names.length < runs.length && (
            <>
              <bdi title={names.join(", ")}>{names.length > 2 ? plural(names.length, "run") : names.join(", ")}</bdi>:{" "}
            </>
          )}
          <bdi>{text}</bdi>
          </Hint>
        </li>
      ))}
    </ul>
  );
}

/** The median over probes of the sum of relevance over the logit, at the step that a run shows. */
function keptOf(run: RunState): number | null {
  const value = run.frame?.header.scalars["lrp/conservation"] ?? run.frame?.header.probes.conservation?.[0];
  return typeof value === "number" ? Math.abs(value) : null;
}

/** Remarks on one run, each with a longer explanation. */
function remarksOf(run: RunState, info: StepInfo | null, current: number | null): [string, string][] {
  if (info === null) {
    const first = run.info?.steps[0];
    return first ? [[`first logged at step ${first.step}`, "Move the slider further to see this run"]] : [];
  }
  const out: [string, string][] = [];
  if (info.batch === 0) out.push(["untrained", "Logged before the first training step"]);
  if (info.step !== current) {
    out.push([`shown at step ${info.step}`, "Nothing was logged at the slider’s step; this is the nearest one before it"]);
  }
  const broken = atStep(info);
  if (broken) out.push([`not finite: ${broken}`, "NaN or infinity: there is no prediction where logits are not finite"]);
  if (!info.maps) out.push(["heatmaps not stored", "The log’s size limit was reached: figures go on, heatmaps do not"]);
  if (info.notes.length === 1) out.push([info.notes[0]!, ""]);
  if (info.notes.length > 1) out.push([plural(info.notes.length, "note"), info.notes.join("\n")]);
  return out;
}
