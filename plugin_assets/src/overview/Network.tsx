// The network at a glance: rows are tensors or layers, columns steps, colour one quantity; a click opens histograms.
import type { JSX } from "preact";
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { fetchLayers } from "../data/api";
import { number, percent, plural, short } from "../data/format";
import type { RunState } from "../data/run";
import type { Job } from "../data/loader";
import { logState, timelineJob, type KeptTimeline } from "../data/timelines";
import type { Timeline } from "../data/types";
import { ViewCache } from "../state/cache";
import type { Model } from "../state/model";
import { searchOf, sharedParts, distinctPart } from "../state/names";
import { indexAtOrBefore, nearestIndex } from "../data/steps";
import { csv, save } from "../ui/files";
import { useCache, useSize } from "../ui/hooks";
import { adopt } from "../ui/sheets";
import { available, brokenCss, columnsOf, ofLayers, paint, QUANTITIES, rampCss, rank, rowsOf, scaleOf, type QuantityName, type Row } from "./matrix";
import { Multiples } from "./Multiples";
import css from "./network.css";
import { branchesOf, flat, openDepth, treeOf, type Node } from "./tree";

/** `channels`: how many each watched layer has, where that is asked for. */
type Loaded = (Timeline & { channels?: ReadonlyMap<string, number> }) | Error | null;

interface Kept extends KeptTimeline {
  timeline: Exclude<Loaded, Error | null>;
}

const BUDGET = 64 << 20;

class Timelines extends ViewCache {
  readonly loader = this.loaderOf<Kept>(BUDGET, 1);
}

/** The request for the scalars of a run that a quantity is made of. */
function jobOf({ listing }: RunState, quantity: QuantityName): Job<Kept> {
  const { tags, columns } = QUANTITIES[quantity];
  const job = timelineJob(listing, { columns: "", of_tensors: tags.join(","), medians: columns.join(",") });
  if (quantity !== "unused") return job;
  const load = async (known: Kept | undefined): Promise<Kept> => {
    const [{ timeline, state }, layers] = await Promise.all([job.load(known), fetchLayers(listing.run, logState(listing))]);
    return { timeline: { ...timeline, channels: new Map(layers.map(({ layer, channels }) => [layer, channels])) }, state };
  };
  return { ...job, load };
}

/** What is known of the timeline of a run; all of it as soon as it has come, more where the run has logged more. */
function useTimeline(model: Model, run: RunState | undefined, quantity: QuantityName): Loaded {
  const { loader } = useCache(model, Timelines);
  const job = run && run.listing.steps > 0 ? jobOf(run, quantity) : null;
  useLayoutEffect(() => loader.want(job ? [job] : []), [loader, job?.key, job?.state]);
  if (job === null) return null;
  const failure = loader.failure(job.key);
  return loader.get(job.key)?.timeline ?? (failure === undefined ? null : new Error(failure));
}

export function View({ model }: { model: Model }): JSX.Element {
  adopt(css);
  const { view } = model;
  const runs = model.selected().filter((run) => run.info !== null);
  const [chosen, setChosen] = useState<string | null>(null);
  const run = runs.find(({ listing }) => listing.run === chosen) ?? runs[0];
  const quantity = (Object.hasOwn(QUANTITIES, view.glance) ? view.glance : "gradients") as QuantityName;
  const timeline = useTimeline(model, run, quantity);
  const there = timeline && !(timeline instanceof Error) ? available(timeline) : [];
  const { title, means, log } = QUANTITIES[quantity];
  const shared = sharedParts(runs.map(({ listing }) => listing.name));
  return (
    <div class="grid-area network" role="region" aria-label="The network at a glance">
      <header>
        <h2>
          {title} of every {ofLayers(quantity) ? "layer" : "tensor"}
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
                {short(distinctPart(listing.name, shared), 40)}
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
        <select aria-label="What is shown of each" data-testid="drawn" value={view.drawn} onChange={(event) => model.setView({ drawn: event.currentTarget.value as typeof view.drawn })}>
          <option value="steps">over all steps</option>
          <option value="histograms" disabled={ofLayers(quantity)}>histograms at this step</option>
        </select>
        <select aria-label="Order of the rows" data-testid="ranked" value={view.ranked} onChange={(event) => model.setView({ ranked: event.currentTarget.value as typeof view.ranked })}>
          <option value="model">in the model’s order</option>
          <option value="change">most changed first</option>
          <option value="value">largest at this step first</option>
        </select>
      </header>
      <Body model={model} runs={runs} run={run} timeline={timeline} quantity={quantity} means={means} log={log} />
    </div>
  );
}

interface BodyProps {
  model: Model;
  runs: RunState[];
  run: RunState | undefined;
  timeline: Loaded;
  quantity: QuantityName;
  means: string;
  log: boolean;
}

function Body({ model, runs, run, timeline, quantity, means, log }: BodyProps): JSX.Element {
  const names = useMemo(() => [...new Set(run?.info?.tensors.map(({ name }) => name) ?? [])], [run?.info]);
  const all = useMemo(() => (timeline && !(timeline instanceof Error) ? rowsOf(timeline, quantity, names, timeline.channels) : []), [timeline, quantity, names]);
  const scale = useMemo(() => scaleOf(all, log), [all, log]);
  // Branches that were opened or closed by hand; of a large network those near the root are open at first.
  const [turned, setTurned] = useState<ReadonlySet<string>>(new Set());
  if (run === undefined) return <p class="aside">Choose a run on the left.</p>;
  if (timeline === null) return <p class="aside">Loading …</p>;
  if (timeline instanceof Error) return <p class="trouble" role="alert">{timeline.message}</p>;
  const { view } = model;
  const step = indexAtOrBefore(timeline.steps, model.currentStep());
  const search = searchOf(view.layers);
  const rows = rank(all.filter(({ name }) => search.fits(name)), view.ranked, step, log);
  const asTree = view.ranked === "model" && view.layers.trim() === "";
  const deep = openDepth(rows, FEW);
  const isOpen = (path: string, depth: number): boolean => turned.has(path) !== depth < deep;
  const nodes = asTree ? treeOf(rows, isOpen) : flat(rows);
  const turn = (path: string): void => setTurned(new Set(turned.has(path) ? [...turned].filter((one) => one !== path) : [...turned, path]));
  const turnAll = (open: boolean): void => setTurned(new Set(branchesOf(rows).flatMap(({ path, depth }) => (depth < deep === open ? [] : [path]))));
  const branches = asTree && nodes.some(({ members }) => members > 0);
  if (rows.length === 0) {
    return <p class="aside" data-testid="no-rows">{all.length === 0 ? missing(quantity) : "No tensor fits the search."}</p>;
  }
  if (view.drawn === "histograms" && !ofLayers(quantity)) {
    const kind = /^weights|^updates/.test(quantity) ? "weight" : "gradient";
    return (
      <>
        <p class="key">
          <span class="aside">
            {kind === "weight" ? "Weights" : "Gradients, log₁₀ |g|,"} at this step, each on its own axis. {plural(rows.length, "tensor")}; the quantity above is what they are ordered by.
          </span>
        </p>
        <Multiples model={model} runs={runs} names={rows.map(({ name }) => name)} kind={kind} />
      </>
    );
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
          {means}. {plural(rows.length, ofLayers(quantity) ? "layer" : "tensor")}, {plural(timeline.steps.length, "step")}.{branches && " A branch shows the largest of its rows."}
        </span>
        {branches && (
          <>
            <button type="button" data-testid="open-all" onClick={() => turnAll(true)}>
              Open all
            </button>
            <button type="button" data-testid="close-all" onClick={() => turnAll(false)}>
              Close all
            </button>
          </>
        )}
        <button type="button" data-testid="network-csv" onClick={() => save("network.csv", "text/csv", csv([["name", ...timeline.steps], ...rows.map((row) => [row.name, ...Array.from(row.values, (value) => (Number.isFinite(value) ? value : null))])]))}>
          Save as CSV
        </button>
      </p>
      <Matrix model={model} timeline={timeline} nodes={nodes} turn={turn} scale={scale} log={log} step={step} share={!log} />
    </>
  );
}

const missing = (quantity: QuantityName): string =>
  quantity === "relevance"
    ? "Relevance by layer was not logged in this run: LRPMonitor(..., inspect=True) does."
    : quantity === "broken"
      ? "Every logged weight and gradient is finite."
      : quantity === "updates"
        ? "Updates are measured with gradients=\"train\" and weights=True, from this version on: not in this run."
        : quantity === "unused"
          ? "No channels were watched in this run: LRPMonitor(..., features=\"auto\") does."
          : "This was not logged in this run.";

interface MatrixProps {
  model: Model;
  timeline: Timeline;
  nodes: Node[];
  /** Opens or closes a branch. */
  turn: (path: string) => void;
  scale: { low: number; high: number };
  log: boolean;
  step: number;
  share: boolean;
}

const ROW = 15;
/** Rows of a tree that are seen at first, at most. */
const FEW = 60;

function Matrix({ model, timeline, nodes, turn, scale, log, step, share }: MatrixProps): JSX.Element {
  const rows = nodes.map(({ row }) => row);
  const [ref, width] = useSize<HTMLDivElement>();
  const canvas = useRef<HTMLCanvasElement>(null);
  const [pointed, setPointed] = useState<{ row: number; at: number; x: number; y: number } | null>(null);
  const steps = timeline.steps;
  const columns = columnsOf(steps.length, Math.max(50, Math.floor(width)));
  const order = nodes.map(({ path }) => path).join("\n");
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
  const shared = useMemo(() => (nodes.some(({ members }) => members > 0) ? "" : sharedParts(rows.map(({ name }) => name)).start), [order]);
  const tensor = model.tensor();
  const valueText = (row: Row, at: number): string => {
    const value = row.values[at];
    if (row.broken[at]) return "not finite";
    return value === undefined || Number.isNaN(value) ? "–" : share ? percent(value) : number(value);
  };
  const open = ({ row, path, members }: Node, at: number): void => {
    if (members > 0) turn(path);
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
        {nodes.map((node) => {
          const { row, label, members, depth } = node;
          const isChosen = members === 0 && row.name === tensor;
          return (
            <li key={node.path}>
              <button
                type="button"
                class={isChosen ? "on" : ""}
                aria-pressed={members === 0 ? isChosen : undefined}
                aria-expanded={members > 0 ? node.open : undefined}
                title={`${row.name}: ${members > 0 ? `${members} rows, the largest ` : ""}${valueText(row, step)} at this step`}
                onClick={() => open(node, step)}
              >
                <bdi style={{ paddingLeft: `${9 * depth}px` }}>
                  {members > 0 && <span aria-hidden="true">{node.open ? "▾ " : "▸ "}</span>}
                  {short(depth > 0 || members > 0 ? label : distinctPart(label, { start: shared, end: "" }), 26)}
                  {members > 0 && !node.open && <span class="aside"> {members}</span>}
                </bdi>
                <span class="value">{valueText(row, step)}</span>
              </button>
            </li>
          );
        })}
      </ul>
      <div
        class="picture"
        ref={ref}
        data-testid="matrix"
        onClick={(event) => {
          const { row, at } = placeOf(event);
          open(nodes[row]!, at);
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
