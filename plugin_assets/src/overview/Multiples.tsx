// The histograms of many tensors at the step of the slider, small, each on an axis of its own; a click opens one large.
import type { JSX } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { hasServer, json } from "../data/api";
import { extent, join, type Range } from "../data/bins";
import { number, plural, short } from "../data/format";
import type { RunState } from "../data/run";
import type { Job } from "../data/loader";
import type { HistogramAnswer, StepInfo, TensorKind } from "../data/types";
import { ViewCache } from "../state/cache";
import type { Model } from "../state/model";
import { useCache } from "../ui/hooks";
import { runColour } from "../ui/colours";
import { cellsFor, shares, stairs } from "../ui/outlines";

/** Cards on the page; the search leads to others. */
const MOST = 400;
/** Of more runs than this the outlines alone are drawn. */
const MANY = 3;
const BUDGET = 24 << 20;
const PARALLEL = 4;
const [WIDTH, HEIGHT] = [150, 46];

type Answer = ReadonlyMap<string, HistogramAnswer>;

interface Wanted {
  run: RunState;
  info: StepInfo;
}

class Histograms extends ViewCache {
  readonly loader = this.loaderOf<Answer>(BUDGET, PARALLEL);
}

/** The request for all histograms of a kind at a step of a run. A page with its data inside has them one by one. */
const jobOf = ({ run, info }: Wanted, kind: TensorKind): Job<Answer> => {
  const asked = { run: run.listing.run, step: info.step, session: info.session, kind };
  return {
    key: JSON.stringify(asked),
    load: async () => {
      if (hasServer()) {
        const { histograms } = await json<{ histograms: (HistogramAnswer & { name: string })[] }>("histograms", asked);
        return new Map(histograms.map((one) => [one.name, one]));
      }
      const names = run.info?.tensors.filter((tensor) => tensor.kind === kind).map(({ name }) => name) ?? [];
      const found = await Promise.all(names.map((name) => json<HistogramAnswer>("histogram", { ...asked, name }).catch(() => null)));
      return new Map(names.flatMap((name, i): [string, HistogramAnswer][] => (found[i] ? [[name, found[i]]] : [])));
    },
    bytes: (answer) => [...answer.values()].reduce((sum, { buckets }) => sum + 300 + 16 * buckets.length, 0),
  };
};

/** What each run has at the step of the slider: what came last, while the next is on its way or the slider moves. */
function useHistograms(model: Model, runs: readonly RunState[], kind: TensorKind): { run: RunState; answer: Answer | Error | null; step: number | null }[] {
  const { loader } = useCache(model, Histograms);
  const shown = useRef(new Map<string, { answer: Answer | Error; step: number }>());
  const wanted = runs.flatMap((run): { run: RunState; step: number; job: Job<Answer> }[] => {
    const info = model.stepOf(run, model.currentStep());
    return info ? [{ run, step: info.step, job: jobOf({ run, info }, kind) }] : [];
  });
  const { still } = model;
  useLayoutEffect(() => loader.want(still ? wanted.map(({ job }) => job) : []), [loader, still, wanted.map(({ job }) => job.key).join("\n")]);
  for (const { run, step, job } of wanted) {
    const failure = loader.failure(job.key);
    const answer = loader.get(job.key) ?? (failure === undefined ? undefined : new Error(failure));
    if (answer) shown.current.set(`${kind} ${run.listing.run}`, { answer, step });
  }
  return runs.map((run) => ({ run, answer: null, step: null, ...shown.current.get(`${kind} ${run.listing.run}`) }));
}

interface MultiplesProps {
  model: Model;
  runs: RunState[];
  /** The tensors in the order of the cards. */
  names: readonly string[];
  kind: TensorKind;
}

export function Multiples({ model, runs, names, kind }: MultiplesProps): JSX.Element {
  const found = useHistograms(model, runs, kind);
  const log = kind === "gradient";
  const errors = found.flatMap(({ run, answer }) => (answer instanceof Error ? [`${run.listing.name}: ${answer.message}`] : []));
  const loaded = found.flatMap(({ run, answer }) => (answer && !(answer instanceof Error) ? [{ run, answer }] : []));
  const cards = names.filter((name) => runs.some(({ info }) => info?.tensors.some((tensor) => tensor.kind === kind && tensor.name === name)));
  const chosen = model.tensor();
  return (
    <>
      {errors.map((message) => (
        <p key={message} class="trouble" role="alert">{message}</p>
      ))}
      <ul class="multiples" data-testid="multiples" data-steps={found.map(({ step }) => step ?? "").join(",")} data-loaded={loaded.length}>
        {cards.slice(0, MOST).map((name) => (
          <li key={name}>
            <button type="button" class={name === chosen ? "on" : ""} aria-pressed={name === chosen} title={name} onClick={() => model.setView({ tensor: name })}>
              <bdi>{short(name, 40)}</bdi>
              <Small log={log} histograms={loaded.map(({ run, answer }) => ({ run, answer: answer.get(name) ?? null }))} />
            </button>
          </li>
        ))}
      </ul>
      {cards.length > MOST && <p class="aside">{plural(cards.length - MOST, "tensor")} more: the search above leads to them.</p>}
      {cards.length === 0 && <p class="aside">No {kind === "weight" ? "weights" : "gradients"} of these tensors were logged.</p>}
    </>
  );
}

function Small({ log, histograms }: { log: boolean; histograms: { run: RunState; answer: HistogramAnswer | null }[] }): JSX.Element {
  const range = histograms.reduce<Range | null>((all, { answer }) => (answer ? join(all, extent(answer, log)) : all), null);
  const cells = Math.min(40, cellsFor(Math.max(0, ...histograms.map(({ answer }) => answer?.size ?? 0))));
  const outlines = histograms.map(({ run, answer }) => ({ run, all: shares(answer, range, log, cells) }));
  const peak = Math.max(1e-12, ...outlines.flatMap(({ all }) => all));
  const broken = histograms.some(({ answer }) => answer && answer.nan + answer.inf > 0);
  const end = (value: number): string => number(log ? 10 ** value : value);
  const none = histograms.find(({ answer }) => answer?.note)?.answer?.note;
  return (
    <>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
        {outlines.map(({ run, all }) => (
          <path key={run.listing.run} style={{ stroke: runColour(run.order), fill: outlines.length > MANY ? "none" : runColour(run.order) }} d={stairs(all, 1, WIDTH - 1, HEIGHT, 2, peak)} />
        ))}
      </svg>
      <span class="ends">
        {range === null ? (
          <span>{none ?? "no values"}</span>
        ) : (
          <>
            <span>{end(range.low)}</span>
            {broken && <span class="bad">not finite</span>}
            <span>{end(range.high)}</span>
          </>
        )}
      </span>
    </>
  );
}
