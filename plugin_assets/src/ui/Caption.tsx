// What stands under a heatmap: prediction, probability, how much relevance there is and where.
import type { JSX } from "preact";
import { classless, explainsNumber, unpredicted, whyUndefined } from "../data/finite";
import { className, number, percent, short } from "../data/format";
import { answerText, labelText } from "../data/labels";
import { isRight } from "../state/selection";
import type { ProbeNames, StepHeader } from "../data/types";

/** Longer names are cut: clipping every line by the browser costs more than all the rest of a slider move. */
const MOST_LETTERS = 14;

interface CaptionProps {
  probes: ProbeNames;
  header: StepHeader | null;
  index: number;
  /** Relevance at full colour; null without a map. */
  limit: number | null;
  /** Whether the picture is a difference, whose full colour is one of differences. */
  isDifference: boolean;
  /** Masks whose share is above the limit set in the callback, with it. */
  alerts: ReadonlyMap<string, number>;
}

export function Caption({ probes, header, index, limit, isDifference, alerts }: CaptionProps): JSX.Element {
  const of = (column: string): number | null => header?.probes[column]?.[index] ?? null;
  const predicted = of("prediction");
  const answer = answerText(probes, (column) => header?.probes[column]?.[index]);
  const labels = labelText(probes, index);
  const right = isRight(probes, header, index);
  const none = unpredicted(header, index);
  const place = probes.position?.[index];
  const target = className(probes, of("target"));
  const labelled = of("label_accuracy") !== null && (
    <>
      <dt title="Share of all labels of the probe, of its set or its places, that are right">labels right</dt>
      <dd>{percent(of("label_accuracy"))}</dd>
    </>
  );
  const region = (
    <>
      <dt title="The logits of a region of the output are summed: nothing is predicted of it, right or wrong">explains</dt>
      <dd>a region</dd>
      <dt title="The sum of the region's logits">Σ logits</dt>
      <dd>{number(of("logit"))}</dd>
      {labelled}
    </>
  );
  const explained = explainsNumber(header) ? "prediction" : "logit";
  const [output, error] = [of("output"), of("error")];
  const numbers = (
    <>
      <dt title="The model's output that is explained">predicts</dt>
      <dd>{number(output)}</dd>
      {error !== null && output !== null && (
        <>
          <dt title="What it is to predict">label</dt>
          <dd>{number(output - error)}</dd>
          <dt title="Prediction minus label">error</dt>
          <dd>{error > 0 ? `+${number(error)}` : number(error)}</dd>
        </>
      )}
    </>
  );
  const classes = (
    <>
      <dt>predicts</dt>
      <dd class={none ? "wrong" : right === null ? "" : right ? "right" : "wrong"} title={none ? "No prediction: the logits are not finite" : probes.label_sets ? `Predicted ${answer}; labelled ${labels}` : answer}>
        {right !== null && <span class="mark">{right ? "✓" : "✗"}</span>}
        {right !== null && <span class="hidden">{right ? "right: " : "wrong: "}</span>}
        <bdi>{short(none ? "none" : answer, MOST_LETTERS)}</bdi>
        {!probes.label_sets && predicted !== of("target") && of("prediction_probability") !== null && ` ${percent(of("prediction_probability"))}`}
      </dd>
      <dt title={`Probability of the explained class, ${target}`}>
        P(<bdi>{short(target, MOST_LETTERS)}</bdi>)
      </dt>
      <dd>{percent(of("probability"))}</dd>
      {labelled}
      {place !== undefined && (
        <>
          <dt title="The place of the output whose class is explained">position</dt>
          <dd>{place.join() === "-1" ? "last" : place.join(", ")}</dd>
        </>
      )}
    </>
  );
  return (
    <dl>
      {explainsNumber(header) ? numbers : classless(header) ? region : classes}
      <dt title={`Sum of all relevance over the explained ${explained}: 1 where the rules conserve it`}>
        <span class="hidden">Sum of relevance over {explained}</span>
        <span aria-hidden="true">Σ R / {explained}</span>
      </dt>
      <dd>{number(of("conservation"))}</dd>
      <dt title={isDifference ? "The difference at full colour" : "The relevance at full colour"}>full colour</dt>
      <dd>{limit === null ? "–" : `±${number(limit)}`}</dd>
      {probes.masks.map((mask) => (
        <Mass
          key={mask}
          mask={mask}
          value={of(`mask_mass/${mask}`)}
          absolute={of(`mask_absolute/${mask}`)}
          instead={whyUndefined(header, mask, index)}
          limit={alerts.get(mask) ?? null}
        />
      ))}
    </dl>
  );
}

interface MassProps {
  mask: string;
  value: number | null;
  /** The share of all |relevance|. */
  absolute: number | null;
  /** Text where there is no value: short, and in full. */
  instead: [string, string];
  limit: number | null;
}

/** The share of the positive relevance that lies inside a mask, as a number and a bar with its limit. */
function Mass({ mask, value, absolute, instead, limit }: MassProps): JSX.Element {
  const over = limit !== null && value !== null && value > limit;
  const alert = limit === null ? "" : `; alert above ${percent(limit)}`;
  const also = value === null ? `. ${instead[1]}` : absolute === null ? "" : `; of all |relevance| ${percent(absolute)}`;
  const title = `Share of the positive relevance inside the mask ${mask}${alert}${also}`;
  const width = (share: number | null): string => `${100 * Math.min(1, Math.max(0, share ?? 0))}%`;
  return (
    <>
      <dt title={title}>
        in <bdi>{short(mask, MOST_LETTERS)}</bdi>
      </dt>
      <dd title={title} class={over ? "wrong" : ""}>
        {value === null ? instead[0] : percent(value)}
      </dd>
      <div class={over ? "meter over" : "meter"} aria-hidden="true">
        <span class={value === null ? "of-all" : ""} style={{ width: width(value ?? absolute) }} />
        {limit !== null && <i style={{ left: width(limit) }} />}
      </div>
    </>
  );
}

interface BadgeProps {
  masks: readonly string[];
  limits: ReadonlyMap<string, number>;
  /** Masks with a limit that cannot be judged. */
  open?: readonly string[];
}

/** Says that a mask's share of relevance is above the limit set in the callback, or that there is none to judge. */
export function AlertBadge({ masks, limits, open = [] }: BadgeProps): JSX.Element | null {
  if (masks.length === 0 && open.length > 0) {
    const title = `The limit of ${open.join(", ")} cannot be judged at this step: no probe has a share of positive relevance`;
    return (
      <span class="alert-badge open" data-testid="alert-open" role="img" aria-label={title} title={title}>
        ?
      </span>
    );
  }
  if (masks.length === 0) return null;
  const exceeded = masks.map((mask) => `${mask} above ${percent(limits.get(mask))}`).join(", ");
  return (
    <span class="alert-badge" data-testid="alert" role="img" aria-label={`Alert: relevance in ${exceeded}`} title={`Relevance in ${exceeded}`}>
      !
    </span>
  );
}
