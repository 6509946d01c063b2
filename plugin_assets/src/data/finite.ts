// Texts on what of a run is not finite, and on shares of relevance that are undefined.
import { percent, plural } from "./format";
import type { ProbeNames, StepHeader, StepInfo } from "./types";

/** Logged steps in a row at which something was not finite; `lasts`: up to the last one. */
export interface Span {
  kind: string;
  first: number;
  last: number;
  lasts: boolean;
  most: number;
}

const TEXTS: Record<string, (n: number) => string> = {
  logits: (n) => `logits of ${plural(n, "probe")}`,
  heatmaps: (n) => `heatmaps of ${plural(n, "probe")}`,
  weights: (n) => plural(n, "weight"),
  gradients: (n) => `${plural(n, "value")} of the gradient`,
  loss: () => "a loss of the epoch",
};

const kindText = (kind: string, n: number): string => (TEXTS[kind] ?? (() => kind))(n);

const known = new WeakMap<readonly StepInfo[], Span[]>();

/** Where a run was not finite, by the order of steps. The same array as long as the steps. */
export function spansOf(steps: readonly StepInfo[]): Span[] {
  const before = known.get(steps);
  if (before) return before;
  const out: Span[] = [];
  const open = new Map<string, Span>();
  steps.forEach(({ step, nonfinite = {} }, i) => {
    for (const kind of [...open.keys()]) if (!nonfinite[kind]) open.delete(kind);
    for (const [kind, count] of Object.entries(nonfinite)) {
      let span = open.get(kind);
      if (!span) {
        span = { kind, first: step, last: step, lasts: false, most: 0 };
        open.set(kind, span);
        out.push(span);
      }
      span.last = step;
      span.most = Math.max(span.most, count);
      span.lasts = i === steps.length - 1;
    }
  });
  known.set(steps, out);
  return out;
}

const where = ({ first, last, lasts }: Span): string =>
  lasts ? `since step ${first}` : first === last ? `at step ${first}` : `at steps ${first} to ${last}`;

/** A span in full: "logits of 8 probes not finite since step 12". */
export const spanText = (span: Span): string => `${kindText(span.kind, span.most)} not finite ${where(span)}`;

/** Spans in short, those of the same steps together: "logits, heatmaps not finite since step 12". */
export function shortText(spans: readonly Span[]): string[] {
  const groups = new Map<string, string[]>();
  for (const span of spans) groups.set(where(span), [...(groups.get(where(span)) ?? []), span.kind]);
  return [...groups].map(([at, kinds]) => `${kinds.join(", ")} not finite ${at}`);
}

/** What is not finite at one step: "logits of 8 probes, heatmaps of 8 probes"; "" where all is. */
export const atStep = (info: Pick<StepInfo, "nonfinite">): string =>
  Object.entries(info.nonfinite ?? {}).map(([kind, count]) => kindText(kind, count)).join(", ");

/** Whether a probe's heatmap holds what is not finite. */
export const mapBroken = (header: StepHeader | null, index: number): boolean => header?.probes.sum?.[index] === null;

/** Whether a step has predictions at all, but none of this probe: its logits are not finite. */
export const unpredicted = (header: StepHeader | null, index: number): boolean => header?.probes.prediction?.[index] === null;

/** Whether a step explains a region of the output, not a class: nothing is predicted there, right or wrong. */
export const classless = (header: StepHeader | null): boolean =>
  header !== null && header.probes.prediction === undefined && header.probes.logit !== undefined;

/** Whether a step explains a number that a regression predicts. */
export const explainsNumber = (header: StepHeader | null): boolean => header?.probes.output !== undefined;

/** Of a map's |relevance| the positive part, below which shares of it are undefined; as in `lrp_monitor/metrics.py`. */
const LEAST_POSITIVE = 0.05;

const NO_MASK: [string, string] = ["no mask", "This probe has no such mask"];

/** Why a probe has no share of its positive relevance in a mask: in short, and in full. */
export function whyUndefined(header: StepHeader | null, mask: string, index: number): [string, string] {
  const of = (column: string): number | null | undefined => header?.probes[column]?.[index];
  if (header === null || header.probes[`mask_mass/${mask}`] === undefined) return ["–", ""];
  if (mapBroken(header, index)) return ["not finite", "The heatmap holds NaN or infinity: it has no shares"];
  const absolute = of(`mask_absolute/${mask}`);
  const [positive, negative] = [of("positive"), of("negative")];
  if (typeof positive === "number" && typeof negative === "number") {
    const all = positive - negative;
    const share = typeof absolute === "number" ? ` Of all |relevance|, ${percent(absolute)} lies inside.` : "";
    if (all === 0) return ["undefined", "The heatmap is zero: there is nothing to take shares of."];
    if (absolute === null) return NO_MASK;
    if (positive === 0) return ["undefined", `No relevance is positive: nothing speaks for the class.${share}`];
    // Earlier runs took shares of any positive relevance: where theirs is missing, the mask is.
    if (positive < LEAST_POSITIVE * all && typeof absolute === "number") {
      return ["undefined", `Only ${percent(positive / all)} of the |relevance| is positive, too little to take shares of.${share}`];
    }
  }
  return NO_MASK;
}

/** How many probes stand behind a run's mean share of a mask, of those that have it; null where that is not known. */
export function behind(count: number | null | undefined, probes: ProbeNames | undefined, mask: string): string | null {
  if (typeof count !== "number" || !probes) return null;
  return `${count} of ${plural(probes.carried?.[mask] ?? probes.names.length, "probe")}`;
}
