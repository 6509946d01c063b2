// The channels of a watched layer: a row each, with the relevance that it carries over training and its own heatmaps.
import type { JSX } from "preact";
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { fetchLayers, hasServer } from "../data/api";
import { className } from "../data/format";
import { logState } from "../data/timelines";
import type { Model } from "../state/model";
import { Dot } from "../ui/Dot";
import { useCache, useSize } from "../ui/hooks";
import { Segments } from "../ui/fields";
import { adopt } from "../ui/sheets";
import { Answers } from "./answers";
import { readChoice, writeChoice, type Choice } from "./choice";
import { legendColour, type Context, type RunLayer } from "./context";
import css from "./features.css";
import { HEADS, ROW } from "./Channel";
import { Lane } from "./Lane";
import { Opened } from "./Opened";

/** Runs that stand side by side. */
const MOST_RUNS = 2;

export function View({ model }: { model: Model }): JSX.Element {
  adopt(css);
  const [top, setTop] = useState(0);
  const before = useRef<number | null>(null);
  const answers = useCache(model, Answers);
  answers.begin();
  useLayoutEffect(() => answers.settle());
  const choice = readChoice(model.view.channels);
  const choose = (change: Partial<Choice>): void => model.setView({ channels: writeChoice({ ...choice, ...change }) });
  const asked = model.selected().map((run) => {
    const state = logState(run.listing);
    return { run, layers: answers.one(`layers ${run.listing.run} ${state}`, () => fetchLayers(run.listing.run, state)) };
  });
  const found = asked.map(({ run, layers }) => {
    if (Array.isArray(layers)) answers.layers.set(run.listing.run, layers);
    return { run, layers: Array.isArray(layers) ? layers : (answers.layers.get(run.listing.run) ?? layers) };
  });
  const watched = found.flatMap(({ run, layers }) => (Array.isArray(layers) && layers.length && run.info ? [{ run, layers }] : []));
  const probes = watched[0]?.run.info!.probes;
  const nameOf = useMemo(() => (number: number): string => (number < 0 || !probes ? "what is explained" : className(probes, number)), [probes]);
  if (watched.length === 0 || !probes) return <Nothing waiting={found.some(({ layers }) => layers === null)} error={found.find(({ layers }) => layers instanceof Error)?.layers} />;
  const names = [...new Set(watched.flatMap(({ layers }) => layers.map(({ layer }) => layer)))];
  const layer = choice.layer !== null && names.includes(choice.layer) ? choice.layer : names[0]!;
  const runLayers: RunLayer[] = watched
    .flatMap(({ run, layers }) => layers.filter((one) => one.layer === layer).map((one) => ({ run, layer: one })))
    .slice(0, MOST_RUNS);
  const classes = [...new Set(runLayers.flatMap(({ layer: { classes: of } }) => of))].sort((a, b) => a - b);
  const of = choice.of !== null && classes.includes(choice.of) ? choice.of : (classes[0] ?? -1);
  const context: Context = { model, answers, of, nameOf, choice, choose };
  const step = model.currentStep();
  const opened = choice.open && runLayers.find(({ run }) => run.listing.run === choice.open!.run);
  const orders: [string, string][] = [
    ["share", "Share"],
    ["emerged", "Emerged"],
    ...probes.masks.map((mask): [string, string] => [`mass:${mask}`, `In ${mask}`]),
    ...(choice.pinned === null ? [] : ([["change", "Change"]] as [string, string][])),
  ];
  return (
    <div class="grid-area features" role="region" aria-label="Features" data-testid="features">
      <header>
        <label>
          Layer
          <select data-testid="feature-layer" value={layer} onChange={(event) => choose({ layer: event.currentTarget.value, open: null })}>
            {names.map((name) => (
              <option key={name} value={name}>
                {name}
              </option>
            ))}
          </select>
        </label>
        <label>
          Class
          <select data-testid="feature-class" value={String(of)} onChange={(event) => choose({ of: Number(event.currentTarget.value), open: null })}>
            {classes.map((number) => (
              <option key={number} value={String(number)}>
                {nameOf(number)}
              </option>
            ))}
          </select>
        </label>
        <Segments name="Order" value={choice.order} options={orders} choose={(order) => choose({ order })} />
        <button
          type="button"
          data-testid="pin"
          onClick={() => choose(choice.pinned === null ? { pinned: step } : { pinned: null, order: choice.order === "change" ? "share" : choice.order })}
        >
          {choice.pinned === null ? "Pin this step" : `Unpin step ${choice.pinned}`}
        </button>
        <label class="check">
          <input type="checkbox" checked={choice.over} data-testid="over" onChange={(event) => choose({ over: event.currentTarget.checked })} />
          over the input
        </label>
      </header>
      <div class="summary" style={{ gridTemplateColumns: `repeat(${runLayers.length}, minmax(0, 1fr))` }}>
        {runLayers.map((runLayer) => (
          <Summary key={runLayer.run.listing.run} model={model} runLayer={runLayer} nameOf={nameOf} probes={runLayer.run.info!.probes.names.length} alone={runLayers.length === 1} />
        ))}
      </div>
      {opened ? (
        <Opened context={context} runLayer={opened} clicked={before.current !== null} />
      ) : (
        <Rows context={context} runLayers={runLayers} top={top} scrolled={setTop} opened={before} />
      )}
    </div>
  );
}

interface RowsProps {
  context: Context;
  runLayers: readonly RunLayer[];
  /** How far the rows are scrolled. What is asked of `answers` is asked in one drawing of the whole view. */
  top: number;
  scrolled: (top: number) => void;
  /** The channel that was opened last, until it has the focus again. */
  opened: { current: number | null };
}

/** Pixels to both sides of the lanes, with the bar that scrolls them, and between two. */
const EDGES = 47;
const GAP = 18;

/** Of all rows those in view are made. */
function Rows({ context, runLayers, top, scrolled, opened }: RowsProps): JSX.Element {
  const [ref, width, room] = useSize<HTMLDivElement>();
  const last = useRef(context.choose);
  last.current = context.choose;
  // The channel that was opened takes the focus back.
  useLayoutEffect(() => {
    if (opened.current === null) return;
    const button = ref.current?.querySelector<HTMLElement>(`[data-testid=channel-${opened.current}]`);
    if (button) opened.current = null;
    button?.focus({ preventScroll: true });
  });
  const open = useMemo(
    () => (run: string, channel: number) => {
      opened.current = channel;
      last.current({ open: { run, channel, probe: null } });
    },
    [],
  );
  const count = Math.max(...runLayers.map(({ layer }) => layer.channels));
  const first = Math.max(0, Math.floor(top / ROW) - 2);
  const end = Math.min(count, Math.ceil((top + room) / ROW) + 2);
  return (
    <div ref={ref} class="scroll" data-testid="channels" tabIndex={0} onScroll={(event) => scrolled(event.currentTarget.scrollTop)}>
      <div class="columns" style={{ height: `${count * ROW + HEADS}px`, gridTemplateColumns: `repeat(${runLayers.length}, minmax(0, 1fr))` }}>
        {runLayers.map((runLayer) => (
          <Lane
            key={runLayer.run.listing.run}
            context={context}
            runLayer={runLayer}
            open={open}
            first={first}
            end={end}
            room={(width - EDGES - GAP * (runLayers.length - 1)) / runLayers.length}
          />
        ))}
      </div>
    </div>
  );
}

function Summary({ model, runLayer, nameOf, probes, alone }: { model: Model; runLayer: RunLayer; nameOf: (n: number) => string; probes: number; alone: boolean }): JSX.Element {
  const { layer, run } = runLayer;
  const step = model.stepOf(run, model.currentStep())?.step ?? null;
  const at = step === null ? -1 : layer.steps.indexOf(step);
  return (
    <p>
      <Dot run={run} /> <b>{run.listing.name}</b>{" "}
      {at >= 0 && (
        <span data-testid="needed">
          {layer.needed[at]} of {layer.channels} channels make 90 % of the positive relevance, {layer.unused[at]} unused, {layer.dead[at]} dead.{" "}
        </span>
      )}
      <span class="legend-classes" aria-hidden="true">
        {layer.classes.map((number, i) => (
          <span key={number} style={{ "--c": legendColour(i) }}>
            {nameOf(number)}
          </span>
        ))}
      </span>{" "}
      <span class="caveat">
        {alone ? "" : "Channels of different runs are different units. "}Relevance is not activation; these figures are of {probes} probes.
      </span>
    </p>
  );
}

function Nothing({ waiting, error }: { waiting: boolean; error: unknown }): JSX.Element {
  return (
    <div class="grid-area hint" role={error ? "alert" : undefined} data-testid="no-features">
      {waiting ? (
        <p>Loading …</p>
      ) : error instanceof Error ? (
        <p>{error.message}</p>
      ) : !hasServer() ? (
        <p>This file holds no features: none were logged, or they were left out when the page was exported.</p>
      ) : (
        <p>
          None of the chosen runs has logged features. <code>LRPMonitor(probes, log_dir, features="auto")</code> watches the channels of the last
          convolution.
        </p>
      )}
    </div>
  );
}
