// The rows of one run: each a channel, in the order that is chosen.
import type { JSX } from "preact";
import { useLayoutEffect, useMemo, useRef } from "preact/hooks";
import type { Model } from "../state/model";
import { useLazy } from "../ui/lazy";
import { Channel, columnsOf, curvesAt, Heads, HEADS, ROW } from "./Channel";
import { ordered } from "./choice";
import { bytesOf, fetchAtStep, fetchCurves, fetchRows, type Answers, type AtStep, type Reference, type Row, type Where } from "./answers";
import type { Context, RunLayer } from "./context";
import type { Tile } from "./maps";
import { askReferences, drawingOf, drawProbes, referenceTiles, type Draw, type DrawProbe } from "./references";
import { Cursor, type Curve } from "./Spark";

/** Steps that are loaded ahead while the slider rests. */
const AHEAD = 3;

interface LaneProps {
  context: Context;
  runLayer: RunLayer;
  open: (run: string, channel: number) => void;
  /** Of the rows those to make. */
  first: number;
  end: number;
  /** Its width in pixels. */
  room: number;
}

/** A logged step of a layer, as the server is asked for it. */
interface Logged {
  step: number;
  session: string;
}

/** The step of a run that stands at a step of the slider; null where that did not log the layer. */
export function loggedAt(model: Model, runLayer: RunLayer, step: number | null): Logged | null {
  const info = model.stepOf(runLayer.run, step);
  return info && runLayer.layer.steps.includes(info.step) ? { step: info.step, session: info.session } : null;
}

export const keyOf = ({ run, layer, of }: Where): string => `${run} ${layer} ${of}`;

/** What is known of all channels at a step; null while it loads. */
export function askStep(answers: Answers, where: Where, here: Logged, early = false): AtStep | Error | null {
  return answers.one(`step ${keyOf(where)} ${here.step} ${here.session}`, () => fetchAtStep(where, here.step, here.session), early);
}

function askRows(answers: Answers, where: Where, here: Logged, channels: readonly number[], most: number, early = false): ReadonlyMap<number, Row> | Error {
  const load = (missing: number[]) => fetchRows(where, here.step, here.session, missing, most);
  return answers.of(`maps ${keyOf(where)} ${here.step} ${here.session} ${most}`, channels, load, { bytesOf, early });
}

/** The shares of channels over the steps of a run as it is now. */
export function askCurves(answers: Answers, { run, layer }: RunLayer, where: Where, channels: readonly number[]): ReadonlyMap<number, Curve> | Error {
  const load = async (missing: number[]): Promise<Map<number, Curve>> => {
    const { steps, shares } = await fetchCurves(where, missing);
    return new Map(missing.map((channel) => [channel, { steps, shares: shares[String(channel)] ?? [] }]));
  };
  return answers.of(`curves ${keyOf(where)} ${layer.steps[layer.steps.length - 1]} ${run.listing.session}`, channels, load);
}

export function Lane({ context: { model, answers, of, nameOf, choice }, runLayer, open, first, end, room }: LaneProps): JSX.Element {
  const { run, layer } = runLayer;
  const where: Where = useMemo(() => ({ run: run.listing.run, layer: layer.layer, of }), [run.listing.run, layer.layer, of]);
  useLayoutEffect(() => answers.settle());
  const part = useLazy(drawingOf(run));
  const here = loggedAt(model, runLayer, model.currentStep());
  const at = here && askStep(answers, where, here);
  const pin = choice.pinned === null ? null : loggedAt(model, runLayer, choice.pinned);
  const pinned = pin && askStep(answers, where, pin);
  const before = pinned instanceof Error ? null : pinned;
  const lane = useRef<State | null>(null);
  if (lane.current?.where !== where) lane.current = { where, shown: null, order: null, curves: new Map(), references: new Map(), tiles: new Map(), drawing: [], draw: null };
  const state = lane.current;
  const columns = columnsOf(room, layer.references);
  const openThis = useMemo(() => (channel: number) => open(where.run, channel), [open, where.run]);

  if (here === null) return <p class="hint">This layer was not logged at this step.</p>;
  if (at instanceof Error) return <p class="hint" role="alert">{at.message}</p>;
  // Rows stay where they are while the slider moves, and until those of another order are there.
  const wish = `${choice.order} ${here.step} ${before ? choice.pinned : ""}`;
  if (at !== null) state.order ??= { wish, rows: sort(at, before, of, choice.order) };
  if (state.order === null || (at === null && state.shown === null)) return <p class="hint">Loading …</p>;
  const next = at !== null && model.still && state.order.wish !== wish ? { wish, rows: sort(at, before, of, choice.order) } : null;
  const seen = state.order.rows.slice(first, end);
  const rows = askRows(answers, where, here, [...new Set([...seen, ...(next?.rows.slice(first, end) ?? [])])], columns.maps);
  if (rows instanceof Error) return <p class="hint" role="alert">{rows.message}</p>;
  const isThere = (channel: number): boolean => rows.has(channel);
  // The step before is shown until all that is in view of this one is there.
  if (at !== null && (state.shown === null || seen.every(isThere))) state.shown = { here, at, rows };
  if (next && next.rows.slice(first, end).every(isThere)) state.order = next;
  const shown = state.shown!;
  const complete = shown.here.step === here.step && shown.here.session === here.session;
  if (complete) state.shown = { ...shown, rows };
  const visible = state.order.rows.slice(first, end);
  const curves = askCurves(answers, runLayer, where, visible);
  if (!(curves instanceof Error) && (curves.size > 0 || state.curves.size === 0)) state.curves = curves;
  if (complete && model.still) askAhead(model, answers, runLayer, where, visible, columns.maps);
  const visibleRows = visible.flatMap((channel) => state.shown!.rows.get(channel) ?? []);
  const references = askReferences(answers, run, layer.steps[layer.steps.length - 1], visibleRows, columns.references);
  if (references.size > 0) state.references = references;
  const draw = part instanceof Error ? null : (part?.draw ?? null);
  const largest = shown.at.shares.get(of)?.reduce((most, share) => Math.max(most, share || 0), 0) ?? 0;
  const pictures = model.picturesOf(run);
  const { colours, gamma, opacity } = model.view;
  const known = pictures instanceof Error ? null : pictures;
  const drawing = [run.info!.probes, known, draw, colours, gamma];
  if (!drawing.every((part, i) => part === state.drawing[i])) {
    state.drawing = drawing;
    state.draw = drawProbes(run, known, draw, colours, Number(gamma));
  }
  return (
    <div class={!complete && model.late ? "lane stale" : "lane"} data-testid="lane" data-run={where.run} data-step={shown.here.step}>
      <Heads columns={columns} name={nameOf(of)} />
      {visible.map((channel, i) => (
        <Channel
          key={channel}
          model={model}
          channel={channel}
          at={shown.at}
          before={before}
          of={of}
          nameOf={nameOf}
          probes={run.info!.probes.names}
          pictures={known}
          draw={state.draw}
          row={state.shown!.rows.get(channel)}
          curve={state.curves.get(channel)}
          largest={largest}
          references={columns.references ? tilesOf(state, run, channel, columns.references, draw) : null}
          top={(first + i) * ROW}
          columns={columns}
          step={shown.here.step}
          colours={colours}
          gamma={gamma}
          over={choice.over}
          opacity={opacity}
          open={openThis}
        />
      ))}
      <Cursor model={model} steps={layer.steps} pinned={choice.pinned} style={{ ...curvesAt(columns), top: `${HEADS + first * ROW}px`, height: `${visible.length * ROW}px` }} />
    </div>
  );
}

interface State {
  where: Where;
  shown: Drawn | null;
  order: Order | null;
  curves: ReadonlyMap<number, Curve>;
  references: ReadonlyMap<number, Reference | null>;
  tiles: Map<number, { parts: unknown[]; tiles: Tile[] | null }>;
  /** What draws probes that are no pictures, and what it was made of. */
  drawing: unknown[];
  draw: DrawProbe | null;
}

/** A row's reference samples: the same array as long as they are the same. */
function tilesOf(state: State, run: RunLayer["run"], channel: number, most: number, draw: Draw): Tile[] | null {
  const row = state.shown!.rows.get(channel);
  const parts = [row?.top?.slice(0, most).join(), row?.top_relevance?.slice(0, most).join(), draw, ...(row?.top?.slice(0, most) ?? []).map((sample) => state.references.get(sample))];
  const known = state.tiles.get(channel);
  if (known && parts.length === known.parts.length && parts.every((part, i) => part === known.parts[i])) return known.tiles;
  const tiles = referenceTiles(run, row, state.references, most, draw);
  state.tiles.set(channel, { parts, tiles });
  return tiles;
}

/** The step whose rows are on the page. */
interface Drawn {
  here: Logged;
  at: AtStep;
  rows: ReadonlyMap<number, Row>;
}

interface Order {
  /** What it was made for. */
  wish: string;
  rows: number[];
}

/** Has the steps loaded that come next in the direction of travel. */
function askAhead(model: Model, answers: Answers, runLayer: RunLayer, where: Where, channels: readonly number[], most: number): void {
  const steps = model.steps();
  const now = model.indexOf(model.currentStep());
  for (const offset of model.ahead.slice(0, AHEAD)) {
    const here = loggedAt(model, runLayer, steps[now + offset] ?? null);
    if (steps[now + offset] === undefined || here === null) continue;
    askStep(answers, where, here, true);
    askRows(answers, where, here, channels, most, true);
  }
}

/** All channels in an order: by share at the step, emergence, a mask's share, or change since the pinned step. */
function sort(at: AtStep, before: AtStep | null, of: number, order: string): number[] {
  const share = at.shares.get(of) ?? new Float32Array(at.channels);
  if (order === "emerged") return ordered(Float32Array.from(at.emerged, (step) => (step < 0 ? NaN : -step)), share);
  if (order.startsWith("mass:")) return ordered(at.masses.get(order.slice(5)) ?? share, share);
  const earlier = order === "change" ? before?.shares.get(of) : undefined;
  return earlier ? ordered(share.map((value, i) => Math.abs((value || 0) - (earlier[i]! || 0))), share) : ordered(share, share);
}
