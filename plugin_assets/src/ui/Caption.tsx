// What stands under a heatmap: prediction, probability, how much relevance there is and where.
import type { JSX } from "preact";
import { className, number, percent, short } from "../format";
import { isRight } from "../selection";
import type { ProbeNames, StepHeader } from "../types";

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
  const right = isRight(probes, header, index);
  const target = className(probes, of("target"));
  return (
    <dl>
      <dt>predicts</dt>
      <dd class={right === null ? "" : right ? "right" : "wrong"} title={className(probes, predicted)}>
        {right !== null && <span class="mark">{right ? "✓" : "✗"}</span>}
        {right !== null && <span class="hidden">{right ? "right: " : "wrong: "}</span>}
        <bdi>{short(className(probes, predicted), MOST_LETTERS)}</bdi>
        {predicted !== of("target") && of("prediction_probability") !== null && ` ${percent(of("prediction_probability"))}`}
      </dd>
      <dt title={`Probability of the explained class, ${target}`}>
        P(<bdi>{short(target, MOST_LETTERS)}</bdi>)
      </dt>
      <dd>{percent(of("probability"))}</dd>
      <dt title="Sum of the relevance of all pixels over the explained logit: 1 where the rules conserve it">
        <span class="hidden">Sum of relevance over logit</span>
        <span aria-hidden="true">Σ R / logit</span>
      </dt>
      <dd>{number(of("conservation"))}</dd>
      <dt title={isDifference ? "The difference at full colour" : "The relevance at full colour"}>full colour</dt>
      <dd>{limit === null ? "–" : `±${number(limit)}`}</dd>
      {probes.masks.map((mask) => (
        <Mass key={mask} mask={mask} value={of(`mask_mass/${mask}`)} limit={alerts.get(mask) ?? null} />
      ))}
    </dl>
  );
}

interface MassProps {
  mask: string;
  value: number | null;
  limit: number | null;
}

/** The share of the positive relevance that lies inside a mask, as a number and a bar with its limit. */
function Mass({ mask, value, limit }: MassProps): JSX.Element {
  const over = limit !== null && value !== null && value > limit;
  const title = `Share of the positive relevance inside the mask ${mask}${limit === null ? "" : `; alert above ${percent(limit)}`}`;
  const width = (share: number | null): string => `${100 * Math.min(1, Math.max(0, share ?? 0))}%`;
  return (
    <>
      <dt title={title}>
        in <bdi>{short(mask, MOST_LETTERS)}</bdi>
      </dt>
      <dd title={title} class={over ? "wrong" : ""}>
        {value === null ? "no mask" : percent(value)}
      </dd>
      <div class={over ? "meter over" : "meter"} aria-hidden="true">
        <span style={{ width: width(value) }} />
        {limit !== null && <i style={{ left: width(limit) }} />}
      </div>
    </>
  );
}

/** Says that a mask's share of relevance is above the limit set in the callback. */
export function AlertBadge({ masks, limits }: { masks: readonly string[]; limits: ReadonlyMap<string, number> }): JSX.Element | null {
  if (masks.length === 0) return null;
  const words = masks.map((mask) => `${mask} above ${percent(limits.get(mask))}`).join(", ");
  return (
    <span class="alert-badge" data-testid="alert" role="img" aria-label={`Alert: relevance in ${words}`} title={`Relevance in ${words}`}>
      !
    </span>
  );
}
