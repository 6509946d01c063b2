// Left rail: which runs, how heatmaps are drawn, how to read them, and what the chosen runs are.
import type { ComponentChildren, JSX } from "preact";
import { COLOURS, type ColourName } from "../colormap";
import { count, plural } from "../format";
import type { RunState } from "../jobs";
import type { Model } from "../model";
import type { View } from "../view";
import { runColour } from "./colours";

export function Rail({ model }: { model: Model }): JSX.Element {
  return (
    <aside class="rail">
      <Runs model={model} />
      <Display model={model} />
      <About model={model} />
    </aside>
  );
}

function Runs({ model }: { model: Model }): JSX.Element {
  const selected = new Set(model.selected().map((run) => run.listing.run));
  const choose = (names: string[]): void => model.setView({ runs: names });
  return (
    <section aria-labelledby="rail-runs">
      <h2 id="rail-runs">Runs</h2>
      <ul class="runs" data-testid="runs">
        {model.runs === null && [0, 1].map((i) => <li key={i} class="skeleton line" />)}
        {model.runs?.map((run) => (
          <RunLine
            key={run.listing.run}
            run={run}
            checked={selected.has(run.listing.run)}
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
  checked: boolean;
  alone: boolean;
  toggle: (on: boolean) => void;
  only: () => void;
}

function RunLine({ run, checked, alone, toggle, only }: RunLineProps): JSX.Element {
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
        {checked && alone ? (
          <span class="aside">{plural(steps, "step")}</span>
        ) : (
          <button type="button" class="only" onClick={only} disabled={error !== undefined} aria-label={`Show only ${name}`}>
            only
          </button>
        )}
      </div>
      {trouble && <p class="trouble">{trouble}</p>}
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

function Display({ model }: { model: Model }): JSX.Element {
  const { view } = model;
  const set = (change: Partial<View>): void => model.setView(change);
  return (
    <section aria-labelledby="rail-display">
      <h2 id="rail-display">Display</h2>
      <Segments
        name="Show"
        value={view.show}
        options={[
          ["pair", "Beside input"],
          ["overlay", "Over input"],
          ["heatmap", "Alone"],
        ]}
        choose={(show) => set({ show })}
      />
      {view.show === "overlay" && (
        <label class="field">
          <span class="row">
            Opacity <span class="aside">{Math.round(100 * view.opacity)} %</span>
          </span>
          <input
            type="range"
            class="plain"
            min="0"
            max="100"
            value={Math.round(100 * view.opacity)}
            data-testid="opacity"
            onInput={(event) => set({ opacity: Number(event.currentTarget.value) / 100 })}
          />
        </label>
      )}
      <Segments
        name="Size"
        value={view.size}
        options={[
          ["s", "Small"],
          ["m", "Medium"],
          ["l", "Large"],
        ]}
        choose={(size) => set({ size })}
      />
      <label class="field">
        Colours
        <select
          value={view.colours}
          data-testid="colours"
          onChange={(event) => set({ colours: event.currentTarget.value as ColourName })}
        >
          {Object.entries(COLOURS).map(([key, { title }]) => (
            <option key={key} value={key}>
              {title}
            </option>
          ))}
        </select>
      </label>
      <label class="field">
        Full colour stands for
        <select
          value={view.scale}
          data-testid="scale"
          onChange={(event) => set({ scale: event.currentTarget.value as View["scale"] })}
        >
          <option value="map">each map’s own maximum</option>
          <option value="time">the probe’s maximum over all steps</option>
        </select>
      </label>
      <label class="check">
        <input
          type="checkbox"
          checked={view.outlines}
          data-testid="outlines"
          onChange={(event) => set({ outlines: event.currentTarget.checked })}
        />
        Outline the masks
      </label>
    </section>
  );
}

interface SegmentsProps<Value extends string> {
  name: string;
  value: Value;
  options: [Value, string][];
  choose: (value: Value) => void;
}

function Segments<Value extends string>({ name, value, options, choose }: SegmentsProps<Value>): JSX.Element {
  return (
    <fieldset class="field">
      <legend>{name}</legend>
      <div class="segments">
        {options.map(([key, title]) => (
          <label key={key} class={key === value ? "on" : ""}>
            <input type="radio" name={`segment-${name}`} checked={key === value} onChange={() => choose(key)} />
            {title}
          </label>
        ))}
      </div>
    </fieldset>
  );
}

function About({ model }: { model: Model }): JSX.Element | null {
  const runs = model.selected().filter((run) => run.info !== null);
  if (runs.length === 0) return null;
  return (
    <section aria-labelledby="rail-about">
      <h2 id="rail-about">About</h2>
      {runs.map((run) => (
        <AboutRun key={run.listing.run} run={run} />
      ))}
    </section>
  );
}

function AboutRun({ run }: { run: RunState }): JSX.Element {
  const meta = run.info?.meta ?? {};
  const text = (key: string): string | null => (typeof meta[key] === "string" ? meta[key] : null);
  const table = text("composite_table");
  return (
    <details>
      <summary>
        <span class="dot" style={{ background: runColour(run.order) }} />
        <bdi class="name">{run.listing.name}</bdi>
      </summary>
      <dl>
        <Line title="Model">{text("model")}</Line>
        <Line title="Parameters">{typeof meta.parameters === "number" ? count(meta.parameters) : null}</Line>
        <Line title="Composite">{text("composite")}</Line>
        <Line title="Gradients">{GRADIENTS[text("gradients") ?? ""] ?? null}</Line>
        <Line title="Steps count">{text("axis") === "batch" ? "batches" : text("axis") === "epoch" ? "epochs" : null}</Line>
        <Line title="Logged">{plural(run.info?.steps.length ?? 0, "step")}</Line>
      </dl>
      {table && (
        <pre tabIndex={0} aria-label="Which rule for which layer">
          {table}
        </pre>
      )}
    </details>
  );
}

const GRADIENTS: Record<string, string> = {
  train: "of the training batch",
  probe: "of the probes",
  off: "not logged",
};

function Line({ title, children }: { title: string; children: ComponentChildren }): JSX.Element | null {
  if (children === null) return null;
  return (
    <>
      <dt>{title}</dt>
      <dd>{children}</dd>
    </>
  );
}
