// The list of runs: choosing them, their colours, and what is wrong with them.
import type { JSX } from "preact";
import { atStep, shortWords, spansOf, spanWords } from "../data/finite";
import { plural } from "../data/format";
import type { RunState } from "../data/jobs";
import type { Model } from "../state/model";
import { alertLimits, exceeded, unjudged } from "../state/selection";
import { AlertBadge } from "./Caption";
import { runColour } from "./colours";

type Alerts = { masks: string[]; open: string[]; limits: ReadonlyMap<string, number> };

function alertsOf(model: Model, run: RunState): Alerts {
  const limits = alertLimits(run.info?.meta);
  const wanted = model.stepOf(run, model.currentStep());
  const scalars = wanted === null ? undefined : run.frame?.header.scalars;
  return { limits, masks: exceeded(limits, (mask) => scalars?.[`lrp/mask_mass/${mask}`]), open: unjudged(limits, scalars) };
}

function compositeOf(run: RunState): unknown {
  return run.info?.meta?.composite;
}

export function Runs({ model }: { model: Model }): JSX.Element {
  const selected = new Set(model.selected().map((run) => run.listing.run));
  const choose = (names: string[]): void => model.setView({ runs: names });
  // Maps of different composites are not to be compared as if they were alike: then each says its own.
  const composites = new Set(model.selected().map(compositeOf).filter(Boolean));
  return (
    <section aria-labelledby="rail-runs">
      <h2 id="rail-runs">Runs</h2>
      <ul class="runs" data-testid="runs">
        {model.runs === null && [0, 1].map((i) => <li key={i} class="skeleton line" />)}
        {model.runs?.map((run) => (
          <RunLine
            key={run.listing.run}
            run={run}
            alerts={alertsOf(model, run)}
            checked={selected.has(run.listing.run)}
            composite={composites.size > 1 && compositeOf(run)}
            alone={selected.size === 1}
            toggle={(on) => {
              if (on) selected.add(run.listing.run);
              else selected.delete(run.listing.run);
              choose((model.runs ?? []).map((r) => r.listing.run).filter((name) => selected.has(name)));
            }}
            only={() => choose([run.listing.run])}
          />
        ))}
      </ul>
    </section>
  );
}

interface RunLineProps {
  run: RunState;
  /** Masks whose share over all probes is above the limit set in the callback, with the limits. */
  alerts: Alerts;
  checked: boolean;
  /** The composite's name where it is to be told. */
  composite: unknown;
  alone: boolean;
  toggle: (on: boolean) => void;
  only: () => void;
}

function RunLine({ run, alerts, checked, composite, alone, toggle, only }: RunLineProps): JSX.Element {
  const { name, steps, error } = run.listing;
  const trouble = error ?? run.error;
  const problems = run.info?.problems ?? run.listing.problems;
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
          <span class="dot" style={{ background: runColour(run.order) }} />
          <bdi class="name">{name}</bdi>
        </label>
        <AlertBadge {...alerts} />
        {checked && alone ? (
          <span class="aside">{plural(steps, "step")}</span>
        ) : (
          <button type="button" class="only" onClick={only} disabled={error !== undefined} aria-label={`Show only ${name}`}>
            only
          </button>
        )}
      </div>
      {checked && composite && <p class="composite name">{String(composite)}</p>}
      {trouble && <p class="trouble">{trouble}</p>}
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
}

/** Says since or at which steps the run is not finite; of a run that is not loaded, whether its last step is. */
function NotFinite({ run }: { run: RunState }): JSX.Element | null {
  const spans = spansOf(run.info?.steps ?? []);
  const last = run.info === null ? atStep(run.listing) : "";
  const lines = last ? [`not finite at step ${run.listing.last_step}`] : shortWords(spans);
  if (lines.length === 0) return null;
  return (
    <p class="trouble" data-testid="not-finite" title={last || spans.map(spanWords).join("\n")}>
      {lines.map((line) => (
        <span key={line}>{line}</span>
      ))}
    </p>
  );
}
