// The network at a glance: rows are tensors or layers, columns steps, colour one quantity; a click opens histograms.
import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { json } from "../data/api";
import { number, percent, plural, short } from "../data/format";
import type { RunState } from "../data/jobs";
import type { Timeline } from "../data/types";
import type { Model } from "../state/model";
import { searchOf, sharedParts, telling } from "../state/names";
import { indexAtOrBefore, nearestIndex } from "../state/steps";
import { csv, save } from "../ui/files";
import { useSize } from "../ui/hooks";
import { adopt } from "../ui/sheets";
import { available, brokenCss, columnsOf, paint, QUANTITIES, rampCss, rank, rowsOf, scaleOf, type QuantityName, type Row } from "./matrix";
import css from "./network.css";

type Loaded = (Timeline & { columns?: string[] }) | Error | null;

/** The scalars of a run that a quantity is made of; asked for again when steps were logged. */
function useTimeline(run: RunState | undefined, quantity: QuantityName): Loaded {
  const [loaded, setLoaded] = useState<{ key: string; found: Loaded }>({ key: "", found: null });
  const name = run?.listing.run ?? "";
  const key = JSON.stringify([name, quantity]);
  const steps = run?.steps.length ?? 0;
  useEffect(() => {
    if (steps === 0) return undefined;
    let gone = false;
    const { tags, columns } = QUANTITIES[quantity];
    json<Timeline>("timeline", { run: name, columns: "", of_tensors: tags.join(","), medians: columns.join(",") }).then(
      (found) => !gone && setLoaded({ key, found }),
      (error: unknown) => !gone && setLoaded({ key, found: error instanceof Error ? error : new Error(String(error)) }),
    );
    return () => {
      gone = true;
    };
  }, [key, steps]);
  return loaded.key === key ? loaded.found : null;
}

export function View({ model }: { model: Model }): JSX.Element {
  adopt(css);
  const { view } = model;
  const runs = model.selected().filter((run) => run.info !== null);
  const [chosen, setChosen] = useState<string | null>(null);
  const run = runs.find(({ listing }) => listing.run === chosen) ?? runs[0];
  const quantity = (Object.hasOwn(QUANTITIES, view.glance) ? view.glance : "gradients") as QuantityName;
  const timeline = useTimeline(run, quantity);
  const there = timeline && !(timeline instanceof Error) ? available(timeline) : [];
  const { title, means, log } = QUANTITIES[quantity];
  const shared = sharedParts(runs.map(({ listing }) => listing.name));
  return (
    <div class="grid-area network" role="region" aria-label="The network at a glance">
      <header>
        <h2>
          {title} of every {quantity === "relevance" ? "layer" : "tensor"}
        </h2>
        <label>
          <span class="hidden">Quantity</span>
          <select data-testid="glance" value={quantity} onChange={(event) => model.setView({ glance: event.currentTarget.value })}>
            {(Object.keys(QUANTITIES) as QuantityName[]).map((name) => (
              <option key={name} value={name} disabled={there.length > 0 && name !== quantity && !there.includes(name)}>
                {QUANTITIES[name].title}
              </option>
            ))}
          </select>
        </label>
        {runs.length > 1 && (
          <select aria-label="Run" data-testid="network-run" value={run?.listing.run} onChange={(event) => setChosen(event.currentTarget.value)}>
            {runs.map(({ listing }) => (
              <option key={listing.run} value={listing.run}>
                {short(telling(listing.name, shared), 40)}
              </option>
            ))}
          </select>
        )}
        <input
          type="text"
          class="search"
          placeholder="Search, or /pattern/"
          aria-label="Search tensors: a text, or a regular expression between slashes"
          data-testid="find-layers"
          value={view.layers}
          onInput={(event) => model.setView({ layers: event.currentTarget.value })}
        />
        <select aria-label="Order of the rows" data-testid="ranked" value={view.ranked} onChange={(event) => model.setView({ ranked: event.currentTarget.value as typeof view.ranked })}>
          <option value="model">in the model’s order</option>
          <option value="change">most changed first</option>
          <option value="value">largest at this step first</option>
        </select>
      </header>
      <Body model={model} run={run} timeline={timeline} quantity={quantity} means={means} log={log} />
    </div>
  );
}

interface BodyProps {
  model: Model;
  run: RunState | undefined;
  timeline: Loaded;
  quantity: QuantityName;
  means: string;
  log: boolean;
}

function Body({ model, run, timeline, quantity, means, log }: BodyProps): JSX.Element {
  const names = useMemo(() => [...new Set(run?.info?.tensors.map(({ name }) => name) ?? [])], [run?.info]);
  const all = useMemo(() => (timeline && !(timeline instanceof Error) ? rowsOf(timeline, quantity, names) : []), [timeline, quantity, names]);
  const scale = useMemo(() => scaleOf(all, log), [all, log]);
  if (run === undefined) return <p class="aside">Choose a run on the left.</p>;
  if (timeline === null) return <p class="aside">Loading …</p>;
  if (timeline instanceof Error) return <p class="trouble" role="alert">{timeline.message}</p>;
  const { view } = model;
  const step = indexAtOrBefore(timeline.steps, model.currentStep());
  const search = searchOf(view.layers);
  const rows = rank(all.filter(({ name }) => search.fits(name)), view.ranked, step, log);
  if (rows.length === 0) {
    return <p class="aside" data-testid="no-rows">{all.length === 0 ? missing(quantity) : "No tensor fits the search."}</p>;
  }
  return (
    <>
      <p class="key">
        <span>{log ? number(10 ** scale.low) : "0 %"}</span>
        <span class="ramp" style={{ background: rampCss }} aria-hidden="true" />
        <span>{log ? number(10 ** scale.high) : "100 %"}</span>
        <span class="box" style={{ background: brokenCss }} aria-hidden="true" />
        <span>not finite</span>
        <span class="aside">
          {means}. {plural(rows.length, "row")}, {plural(timeline.steps.length, "step")}.
        </span>
        <button type="button" data-testid="network-csv" onClick={() => save("network.csv", "text/csv", csv([["name", ...timeline.steps], ...rows.map((row) => [row.name, ...Array.from(row.values, (value) => (Number.isFinite(value) ? value : null))])]))}>
          Save as CSV
        </button>
      </p>
      <Matrix model={model} timeline={timeline} rows={rows} scale={scale} log={log} step={step} share={!log} />
    </>
  );
}

const missing = (quantity: QuantityName): string =>
  quantity === "relevance"
    ? "Relevance by layer was not logged in this run: LRPMonitor(..., inspect=True) does."
    : quantity === "broken"
      ? "Every logged weight and gradient is finite."
      : "This was not logged in this run.";

interface MatrixProps {
  model: Model;
  timeline: Timeline;
  rows: Row[];
  scale: { low: number; high: number };
  log: boolean;
  step: number;
  share: boolean;
}

const ROW = 15;

function Matrix({ model, timeline, rows, scale, log, step, share }: MatrixProps): JSX.Element {
  const [ref, width] = useSize<HTMLDivElement>();
  const canvas = useRef<HTMLCanvasElement>(null);
  const [pointed, setPointed] = useState<{ row: number; at: number; x: number; y: number } | null>(null);
  const steps = timeline.steps;
  const columns = columnsOf(steps.length, Math.max(50, Math.floor(width)));
  const order = rows.map(({ name }) => name).join("\n");
  useLayoutEffect(() => {
    const element = canvas.current;
    const context = element?.getContext("2d");
    if (!element || !context || width === 0) return;
    element.width = columns;
    element.height = rows.length;
    const words = paint(rows, steps.length, columns, scale, log);
    context.putImageData(new ImageData(new Uint8ClampedArray(words.buffer as ArrayBuffer), columns, rows.length), 0, 0);
    element.dataset.painted = String(rows.length);
  }, [timeline, order, columns, scale.low, scale.high, log, width === 0]);
  const shared = useMemo(() => sharedParts(rows.map(({ name }) => name)).start, [order]);
  const tensor = model.tensor();
  const valueText = (row: Row, at: number): string => {
    const value = row.values[at];
    if (row.broken[at]) return "not finite";
    return value === undefined || Number.isNaN(value) ? "–" : share ? percent(value) : number(value);
  };
  const open = (row: Row, at: number): void => {
    const place = nearestIndex(model.steps(), steps[at] ?? 0);
    const found = model.steps()[place];
    model.setView({ tensor: model.tensors().includes(row.name) ? row.name : model.view.tensor, ...(found === undefined ? {} : { step: found }) });
  };
  const placeOf = (event: { clientX: number; clientY: number; currentTarget: HTMLElement }): { row: number; at: number } => {
    const box = event.currentTarget.getBoundingClientRect();
    const share = (event.clientX - box.left) / Math.max(1, box.width);
    return {
      row: Math.max(0, Math.min(rows.length - 1, Math.floor((event.clientY - box.top) / ROW))),
      at: Math.max(0, Math.min(steps.length - 1, Math.floor(share * steps.length))),
    };
  };
  return (
    <div class="matrix" style={{ "--rows": String(rows.length), "--row": `${ROW}px` }}>
      <ul class="names">
        {rows.map((row) => (
          <li key={row.name}>
            <button
              type="button"
              class={row.name === tensor ? "on" : ""}
              aria-pressed={row.name === tensor}
              title={`${row.name}: ${valueText(row, step)} at this step`}
              onClick={() => open(row, step)}
            >
              <bdi>{short(telling(row.name, { start: shared, end: "" }), 26)}</bdi>
              <span class="value">{valueText(row, step)}</span>
            </button>
          </li>
        ))}
      </ul>
      <div
        class="picture"
        ref={ref}
        data-testid="matrix"
        onClick={(event) => {
          const { row, at } = placeOf(event);
          open(rows[row]!, at);
        }}
        onPointerMove={(event) => setPointed({ ...placeOf(event), x: event.clientX, y: event.clientY })}
        onPointerLeave={() => setPointed(null)}
      >
        <canvas ref={canvas} role="img" aria-label={`${rows.length} rows, ${steps.length} steps; the values at the step of the slider stand beside the names`} />
        {step >= 0 && <i class="now" style={{ left: `${(100 * (step + 0.5)) / steps.length}%` }} />}
      </div>
      {pointed && rows[pointed.row] && (
        <div class="pixel-readout" aria-hidden="true" style={{ left: `${Math.min(pointed.x + 14, window.innerWidth - 240)}px`, top: `${Math.min(pointed.y + 14, window.innerHeight - 70)}px` }}>
          <p>
            <bdi>{short(rows[pointed.row]!.name, 34)}</bdi>
          </p>
          <p class="line">
            step {steps[pointed.at]} <strong>{valueText(rows[pointed.row]!, pointed.at)}</strong>
          </p>
        </div>
      )}
    </div>
  );
}
