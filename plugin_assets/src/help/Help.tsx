// How to read the page: heatmaps, figures, controls, keys; and what is usual for the composites of the chosen runs.
import type { JSX } from "preact";
import type { Model } from "../state/model";
import { adopt } from "../ui/sheets";
import css from "./help.css";

const FIGURES: [string, string][] = [
  ["predicts", "The class with the largest logit at this step, right (✓) or wrong (✗) by the probe’s label; behind it its probability where it is not the explained class."],
  ["P(class)", "The probability of the explained class: the label, or what was predicted at the first log, and the same ever after."],
  ["Σ R / logit", "The sum of a map’s relevance over the explained logit: the part of it that reaches the input. 1 where the rules conserve relevance; biases absorb their share of it."],
  ["full colour", "The relevance that has the strongest colour. “Full colour stands for” on the left says whether each map has its own."],
  ["in a mask", "The share of the positive relevance that lies inside the mask. The line on the bar is the limit set in the callback; “undefined” where less than 5 % of the |relevance| is positive."],
  ["drift", "Half the distance of a map to the one logged before, both with their |relevance| summing to 1: 0 the same picture, 1 nothing in common."],
  ["update / weight", "How far one training step moved a tensor, over its norm before the step. Around 10⁻³ is usual; far above, training is rough, far below, the tensor hardly learns."],
  ["below, median", "Of a histogram under the pointer: the share of each run’s values that lies below. Values count as evenly spread over their bucket, a quarter of the way from one power of two to the next."],
  ["not finite", "NaN or infinity in logits, heatmaps, weights or gradients: there is no prediction then, and the pixels are grey."],
];

const CONTROLS: [string, string][] = [
  ["Step", "The slider has a place for every logged step. “Follow live” stays at the newest one."],
  ["Difference to", "Each map less that of a pinned step, or of another run at the same step. Where two runs explain by different composites it says “other rules”: it is then a difference of rules as well as of models."],
  ["Full colour stands for", "With “each map’s own maximum” every map is fully coloured: good to see where, not how much. The other two compare amounts over steps, or over everything."],
  ["Clipped at, weak relevance", "Percentiles and exponents that bring out weak relevance beside single strong pixels."],
  ["Smoothed maps", "Each map is smoothed by a Gaussian before it is drawn. The figures under it stay those of the map as it was logged."],
  ["Order, right or wrong", "Probes by what they show at this step. While the slider moves they keep their places."],
  ["Network", "A row a tensor, a column a step. A branch of the tree shows the largest of its rows; a click opens it, or a tensor’s histograms at that step. “Histograms at this step” shows all tensors small."],
  ["All steps", "Histograms of many steps one behind the other, of the chosen runs side by side; of the part of the axis that the curves show."],
  ["Curves", "Click or drag along a curve to move the step; with Shift held down, to see a part of it; a double click shows all again."],
];

const KEYS: [string, string][] = [
  ["← →", "the step before, the next one; with Shift, ten of them"],
  ["Home, End", "the first step, the last one"],
  ["Space", "play, pause"],
  ["+ − 0", "zoom of all maps in, out, off (also Ctrl and the wheel over a map; drag to move)"],
  ["Esc", "close an opened probe, or this help"],
  ["Page ↑, Page ↓", "the probe before, the next one, while one is opened"],
  ["?", "this help"],
];

/** What is usual for a composite, by its name; null for those without anything usual. */
export function usual(composite: string): string | null {
  if (/alpha2_?beta1|alpha_?beta/.test(composite)) {
    return "Red and blue in every map, and sums far from the logit, both ways: the factor 2 on what speaks for a class, and the 1 on what speaks against it, grow from layer to layer. Read where relevance lies, not how much there is.";
  }
  if (/plus|z_?plus|deep_taylor/.test(composite)) {
    return "Hardly any blue, and a sum of relevance of 10⁻⁴ to 10⁻² of the logit on deep networks with biases: positive biases take part in the sums that relevance is shared out by, and keep their share. The maps localise well all the same. Only a change of that figure from step to step says something of a network.";
  }
  if (/gamma/.test(composite)) return "Mostly red, some blue; a sum below the logit on networks with biases.";
  if (/^(epsilon|lrp_zero|lrp_0)$/.test(composite)) {
    return "Noisy maps with as much blue as red, like input times gradient, whose sum is near the logit where biases are small.";
  }
  if (/attn_lrp/.test(composite)) return "Sums between half the logit and twice: the softmax of attention keeps a share of its own.";
  if (/cp_lrp/.test(composite)) return "A sum near the logit: attention weights are held constant.";
  return null;
}

export function View({ model }: { model: Model }): JSX.Element {
  adopt(css);
  const runs = model.selected().filter((run) => run.info !== null);
  const composites = [...new Set(runs.map((run) => String(run.info!.meta.composite ?? "")))].filter(Boolean);
  return (
    <div class="grid-area help" data-testid="help" tabIndex={0} role="region" aria-label="Help">
      <section>
        <h2>How to read a heatmap</h2>
        <p>
          A map shares out the logit of one class over the pixels (or values) of one input: where its relevance is positive,
          the input speaks for the class, where it is negative, against it. It says what <em>this</em> network uses at{" "}
          <em>this</em> step, not what is in the picture. Before training (“untrained”) it is noise.
        </p>
        <p>
          Look at what changes from step to step, at probes that are wrong, and at relevance where none should be: outside of
          the object, on a watermark, at the border.
        </p>
        <p>
          <strong>A grid of dots</strong> on the maps of networks whose first layers take every second or fourth pixel (a
          strided convolution, patches) is what these networks compute: pixels between their windows have little part in them.
          It is no fault of the map. “Smoothed maps” on the left draws the dots together, and says so.
        </p>
        {composites.map((name) => {
          const words = usual(name);
          return (
            words && (
              <p key={name} data-testid="usual">
                <strong>
                  Usual for <bdi>{name}</bdi>:
                </strong>{" "}
                {words}
              </p>
            )
          );
        })}
      </section>
      <List title="Figures" rows={FIGURES} />
      <List title="Controls" rows={CONTROLS} />
      <List title="Keys" rows={KEYS} />
    </div>
  );
}

function List({ title, rows }: { title: string; rows: [string, string][] }): JSX.Element {
  return (
    <section>
      <h2>{title}</h2>
      <dl>
        {rows.map(([name, words]) => (
          <>
            <dt>{name}</dt>
            <dd>{words}</dd>
          </>
        ))}
      </dl>
    </section>
  );
}
