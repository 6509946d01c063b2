// The list of runs: finding and choosing them, their colours, and what is wrong with them.
import type { JSX } from "preact";
import { atStep, shortText, spansOf, spanText } from "../data/finite";
import { count, plural, short } from "../data/format";
import type { RunState } from "../data/run";
import type { Model } from "../state/model";
import { memo } from "./memo";
import { groupRuns, liveness, newestFirst, searchOf, sharedParts, spanOfTime, distinctPart, type Shared } from "../state/names";
import { alertLimits, exceeded, unjudged } from "../state/selection";
import { AlertBadge } from "./Caption";
import { runColour } from "./colours";
import { Dot } from "./Dot";
import { Fold } from "./Fold";

/** More runs than these are found by a search, and chosen all or none at once. */
const MANY = 4;
const MOST_LETTERS = 18;

type Alerts = { masks: string[]; open: string[]; limits: ReadonlyMap<string, number> };

const NO_ALERTS: Alerts = { masks: [], open: [], limits: new Map() };

function alertsOf(model: Model, run: RunState): Alerts {
  const limits = alertLimits(run.info?.meta);
  const wanted = model.stepOf(run, model.currentStep());
  const scalars = wanted === null ? undefined : run.frame?.header.scalars;
  if (limits.size === 0) return NO_ALERTS;
  return { limits, masks: exceeded(limits, (mask) => scalars?.[`lrp/mask_mass/${mask}`]), open: unjudged(limits, scalars) };
}

function compositeOf(run: RunState): unknown {
  return run.info?.meta?.composite;
}

const namesOf = (runs: readonly RunState[]): Set<string> => new Set(runs.map((run) => run.listing.run));

const choose = (model: Model, names: ReadonlySet<string>): void =>
  model.setView({ runs: [...namesOf(model.runs ?? [])].filter((name) => names.has(name)) });

export function Runs({ model }: { model: Model }): JSX.Element {
  const all = model.runs ?? [];
  const { view } = model;
  const selected = namesOf(model.selected());
  const search = searchOf(view.find);
  const found = all.filter((run) => search.fits(run.listing.name));
  const sorted = view.listed === "newest" ? newestFirst(found) : found;
  const shared = sharedParts(all.map((run) => run.listing.name));
  const groups = groupRuns(sorted, shared.start);
  // Maps of different composites are not comparable: each run then shows its own composite.
  const composites = new Set(model.selected().map(compositeOf).filter(Boolean));
  const line = (run: RunState, common: Shared): JSX.Element => (
    <RunLine
      key={run.listing.run}
      model={model}
      run={run}
      listing={run.listing}
      info={run.info}
      error={run.error}
      order={run.order}
      pattern={run.pattern}
      shortName={distinctPart(run.listing.name, common)}
      alerts={alertsOf(model, run)}
      checked={selected.has(run.listing.run)}
      composite={composites.size > 1 ? compositeOf(run) : null}
      alone={selected.size === 1}
    />
  );
  const setAll = (runs: readonly RunState[], on: boolean): void => {
    for (const { listing } of runs) {
      if (on && listing.error === undefined) selected.add(listing.run);
      else selected.delete(listing.run);
    }
    choose(model, selected);
  };
  return (
    <Fold title="Runs" {...(all.length > MANY ? { aside: `${count(selected.size)} of ${count(all.length)}` } : {})}>
      {all.length > MANY && <Finder model={model} error={search.error} found={found.length} setAll={(on) => setAll(found, on)} />}
      {shared.start + shared.end !== "" && (
        <p class="aside shared" title={`${shared.start}…${shared.end}`}>
          all: <bdi>{short(`${shared.start}…${shared.end}`, 28)}</bdi>
        </p>
      )}
      <div class="run-list">
        <ul class="runs" data-testid="runs">
          {model.runs === null && [0, 1].map((i) => <li key={i} class="skeleton line" />)}
          {groups.map(({ title, runs }) => {
            if (title === "") return runs.map((run) => line(run, shared));
            const common = sharedParts(runs.map((run) => run.listing.name));
            return <Group key={title} title={title} runs={runs} selected={selected} setAll={setAll} line={(run) => line(run, common)} />;
          })}
        </ul>
      </div>
    </Fold>
  );
}

interface FinderProps {
  model: Model;
  error: string | null;
  found: number;
  setAll: (on: boolean) => void;
}

function Finder({ model, error, found, setAll }: FinderProps): JSX.Element {
  const { view } = model;
  return (
    <>
      <input
        type="text"
        class="search"
        placeholder="Search, or /pattern/"
        aria-label="Search runs: a text, or a regular expression between slashes"
        aria-invalid={error !== null}
        value={view.find}
        data-testid="find-runs"
        onInput={(event) => model.setView({ find: event.currentTarget.value })}
      />
      {error !== null && <p class="trouble">{error}</p>}
      <div class="choose-runs">
        <button type="button" data-testid="runs-all" disabled={found === 0} onClick={() => setAll(true)}>
          {view.find.trim() === "" ? "All" : `All ${count(found)} found`}
        </button>
        <button type="button" data-testid="runs-none" disabled={found === 0} onClick={() => setAll(false)}>
          None
        </button>
        <select aria-label="Order of the runs" data-testid="runs-order" value={view.listed} onChange={(event) => model.setView({ listed: event.currentTarget.value === "name" ? "name" : "newest" })}>
          <option value="newest">newest first</option>
          <option value="name">by name</option>
        </select>
      </div>
    </>
  );
}

interface GroupProps {
  title: string;
  runs: RunState[];
  selected: ReadonlySet<string>;
  setAll: (runs: readonly RunState[], on: boolean) => void;
  line: (run: RunState) => JSX.Element;
}

/** Runs below one folder, chosen all at once; open where one of them is chosen. */
function Group({ title, runs, selected, setAll, line }: GroupProps): JSX.Element {
  const chosen = runs.filter((run) => selected.has(run.listing.run)).length;
  return (
    <li class="run-group">
      <details open={chosen > 0}>
        <summary>
          <bdi class="name" title={title}>{short(title, MOST_LETTERS)}</bdi>
          <span class="aside">{chosen} of {runs.length}</span>
        </summary>
        <div class="choose-runs">
          <button type="button" aria-label={`All of ${title}`} onClick={() => setAll(runs, true)}>
            All
          </button>
          <button type="button" aria-label={`None of ${title}`} onClick={() => setAll(runs, false)}>
            None
          </button>
        </div>
        <ul>{runs.map(line)}</ul>
      </details>
    </li>
  );
}

interface RunLineProps extends Pick<RunState, "listing" | "info" | "error" | "order" | "pattern"> {
  model: Model;
  run: RunState;
  /** The part of its name that differs from the others'. */
  shortName: string;
  /** Masks whose share over all probes is above the limit set in the callback, with the limits. */
  alerts: Alerts;
  checked: boolean;
  /** The composite's name where it is shown. */
  composite: unknown;
  alone: boolean;
}

/** What is drawn of `run` is in the other properties too: of a hundred lines only those are drawn again that differ. */
const RunLine = memo<RunLineProps>(function RunLine({ model, run, shortName, alerts, checked, composite, alone }) {
  const { name, steps, error } = run.listing;
  const toggle = (on: boolean): void => {
    const names = namesOf(model.selected());
    if (on) names.add(run.listing.run);
    else names.delete(run.listing.run);
    choose(model, names);
  };
  const trouble = error ?? run.error;
  const problems = run.info?.problems ?? run.listing.problems;
  const restarts = restartsOf(run);
  return (
    <li>
      <div class="run-line">
        <label title={name}>
          <input
            type="checkbox"
            checked={checked}
            disabled={error !== undefined}
            style={{ accentColor: runColour(run.order) }}
            onChange={(event) => toggle(event.currentTarget.checked)}
          />
          <Dot run={run} />
          <bdi class="name">{short(shortName, MOST_LETTERS)}</bdi>
        </label>
        <AlertBadge {...alerts} />
        {checked && alone ? (
          <span class="aside">{plural(steps, "step")}</span>
        ) : (
          <button type="button" class="only" onClick={() => choose(model, new Set([run.listing.run]))} disabled={error !== undefined} aria-label={`Show only ${name}`}>
            only
          </button>
        )}
      </div>
      {checked && <Alive run={run} />}
      {checked && composite && <p class="composite name">{String(composite)}</p>}
      {trouble && <p class="trouble">{trouble}</p>}
      {restarts !== null && <p class="run-state" data-testid="restarted">{restarts}</p>}
      <NotFinite run={run} />
      {problems.length > 0 && (
        <details class="trouble">
          <summary>{plural(problems.length, "remark")} on its files</summary>
          <ul>
            {problems.map((problem) => (
              <li key={problem}>{problem}</li>
            ))}
          </ul>
        </details>
      )}
    </li>
  );
});

/** How old the last log is, and whether the run has ended or fallen silent. */
function Alive({ run }: { run: RunState }): JSX.Element | null {
  const now = Date.now() / 1000;
  const state = liveness(run.listing, now);
  const last = run.listing.last_logged;
  if (state === null || typeof last !== "number") return null;
  const ago = `${spanOfTime(now - last)} ago`;
  const text = { ended: `ended ${ago}`, stalled: `silent: last log ${ago}`, live: `last log ${ago}` }[state];
  const title = { ended: "The fit ended at its last step", stalled: "Nothing was logged for five times as long as usual: it may have stopped", live: "" }[state];
  return (
    <p class={state === "stalled" ? "run-state stalled" : "run-state"} title={title} data-testid="alive">
      {text}
    </p>
  );
}

/** Text on where later sessions went on, and how many earlier steps they replaced. */
function restartsOf(run: RunState): string | null {
  const steps = run.info?.steps ?? [];
  const starts = steps.filter((step, i) => i > 0 && step.session !== steps[i - 1]!.session).map(({ step }) => step);
  const replaced = run.info?.replaced ?? 0;
  if (starts.length === 0 && replaced === 0) return null;
  const where = starts.length > 3 ? `${starts.length} times` : starts.length > 0 ? `at step ${starts.join(", ")}` : "from its start";
  return `restarted ${where}${replaced > 0 ? `; ${plural(replaced, "earlier step")} replaced` : ""}`;
}

/** Since or at which steps the run is not finite; of a run that is not loaded, whether its last step is. */
function NotFinite({ run }: { run: RunState }): JSX.Element | null {
  const spans = spansOf(run.info?.steps ?? []);
  const last = run.info === null || run.info.brief ? atStep(run.listing) : "";
  const lines = last ? [`not finite at step ${run.listing.last_step}`] : shortText(spans);
  if (lines.length === 0) return null;
  return (
    <p class="trouble" data-testid="not-finite" title={last || spans.map(spanText).join("\n")}>
      {lines.map((line) => (
        <span key={line}>{line}</span>
      ))}
    </p>
  );
}
