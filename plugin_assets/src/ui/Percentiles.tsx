// What a histogram's values are under the pointer: the value there, and the share of each run's values below it.
import type { JSX } from "preact";
import { number, percent, short } from "../data/format";
import type { RunState } from "../data/run";
import { percentile, shareBelow } from "../data/percentiles";
import type { HistogramAnswer } from "../data/types";
import { sharedParts, distinctPart } from "../state/names";
import { Dot } from "./Dot";

export interface Pointed {
  /** On the axis: log10 of the magnitude where `log`. */
  value: number;
  x: number;
  y: number;
  /** Whether it was moved there by keys: then it is read out. */
  spoken?: boolean;
}

const valueAt = ({ value }: Pointed, log: boolean): number => (log ? 10 ** value : value);

export const pointedText = (pointed: Pointed, log: boolean): string => `${log ? "|g|" : "w"} = ${number(valueAt(pointed, log))}`;

interface PercentilesProps {
  pointed: Pointed;
  log: boolean;
  runs: { run: RunState; answer: HistogramAnswer | null }[];
}

export function Percentiles({ pointed, log, runs }: PercentilesProps): JSX.Element {
  const value = valueAt(pointed, log);
  const shared = sharedParts(runs.map(({ run }) => run.listing.name));
  return (
    <div
      class="pixel-readout percentiles"
      data-testid="percentiles"
      aria-hidden="true"
      style={{ left: `${Math.max(4, Math.min(pointed.x + 14, window.innerWidth - 430))}px`, top: `${Math.max(4, Math.min(pointed.y + 14, window.innerHeight - 40 - 34 * runs.length))}px` }}
    >
      <p>{pointedText(pointed, log)}</p>
      {runs.map(({ run, answer }) => {
        const share = answer && shareBelow(answer, value, log);
        if (answer === null || share === null) return null;
        return (
          <p key={run.listing.run} class="line">
            <Dot run={run} />
            {runs.length > 1 && <bdi>{short(distinctPart(run.listing.name, shared), 18)} </bdi>}
            <strong>{percent(share)}</strong> below; median {number(percentile(answer, 0.5, log))}, 5–95 %: {number(percentile(answer, 0.05, log))} … {number(percentile(answer, 0.95, log))}
          </p>
        );
      })}
    </div>
  );
}

/** The same as a sentence, to be read out. */
export function spokenText(pointed: Pointed, log: boolean, runs: PercentilesProps["runs"]): string {
  return runs
    .flatMap(({ run, answer }) => {
      const share = answer && shareBelow(answer, valueAt(pointed, log), log);
      return share === null ? [] : `${runs.length > 1 ? `${run.listing.name}: ` : ""}${percent(share)} below`;
    })
    .join("; ");
}

/** Percentiles as a sentence, for those who do not point. */
export function percentileText(answer: HistogramAnswer | null | undefined, log: boolean): string {
  if (!answer || percentile(answer, 0.5, log) === null) return "";
  return [5, 25, 50, 75, 95].map((share) => `${share} % below ${number(percentile(answer, share / 100, log))}`).join(", ");
}
