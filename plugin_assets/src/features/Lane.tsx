// The rows of one run: each a channel, in the order that is chosen.
import type { JSX } from "preact";
import { useMemo, useRef } from "preact/hooks";
import { number, percent } from "../data/format";
import type { Model } from "../state/model";
import { curvePath, ordered, placeOf, stepAt, type Choice } from "./choice";
import { fetchAtStep, fetchCurves, fetchRows, type Answers, type AtStep, type Row, type Where } from "./data";
import { classColour, type Place } from "./Features";
import { ChannelMap } from "./maps";

/** Height of a row, in pixels. */
export const ROW = 74;
const MAPS = { wide: 6, narrow: 3 };
const SIDE = 60;

interface LaneProps {
  model: Model;
  answers: Answers;
  place: Place;
  of: number;
  nameOf: (number: number) => string;
  choice: Choice;
  choose: (change: Partial<Choice>) => void;
  /** Of the rows those to make. */
  first: number;
  end: number;
  narrow: boolean;
}

/** What is known of all channels at a step; null while it loads. */
export function useStep(model: Model, answers: Answers, place: Place, of: number, step: number | null): { at: AtStep | Error | null; step: number | null; session: string } {
  const info = model.stepOf(place.run, step);
  const where: Where = { run: place.run.listing.run, layer: place.layer.layer, of };
  const here = info && place.layer.steps.includes(info.step) ? info : null;
  const key = `step ${where.run} ${where.layer} ${of} ${here?.step} ${here?.session}`;
  const at = here === null ? null : answers.one(key, () => fetchAtStep(where, here.step, here.session));
  return { at, step: here?.step ?? null, session: here?.session ?? "" };
}

export function Lane({ model, answers, place, of, nameOf, choice, choose, first, end, narrow }: LaneProps): JSX.Element {
  const { run, layer } = place;
  const where: Where = { run: run.listing.run, layer: layer.layer, of };
  const now = useStep(model, answers, place, of, model.currentStep());
  const pinned = useStep(model, answers, place, of, choice.pinned);
  const lasting = useRef<{ key: string; at: AtStep } | null>(null);
  // The view is drawn with every answer that comes: a row is made again where something in it is another.
  const made = useRef(new Map<number, { parts: unknown[]; line: JSX.Element }>());
  const key = `${where.run} ${where.layer} ${of}`;
  if (now.at !== null && !(now.at instanceof Error)) lasting.current = { key, at: now.at };
  const at = now.at instanceof Error ? null : (now.at ?? (lasting.current?.key === key ? lasting.current.at : null));
  // While the slider moves rows stay where they are.
  const order = useRef<{ key: string; rows: number[] } | null>(null);
  const before = pinned.at instanceof Error ? null : pinned.at;
  const wish = `${key} ${choice.order} ${now.step} ${before ? choice.pinned : ""}`;
  const sorted = useMemo(() => (at && now.at !== null ? sort(at, before, of, choice.order) : null), [at, now.at, before, of, choice.order]);
  if (sorted && (order.current === null || order.current.rows.length !== sorted.length || (order.current.key !== wish && model.still))) {
    order.current = { key: wish, rows: sorted };
  }
  if (now.at instanceof Error) return <p class="hint" role="alert">{now.at.message}</p>;
  if (at === null || order.current === null) return <p class="hint">{now.step === null ? "This layer was not logged at this step." : "Loading …"}</p>;
  const shown = order.current.rows.slice(first, end);
  const most = narrow ? MAPS.narrow : MAPS.wide;
  const rows = answers.of<Row>(`maps ${key} ${now.step} ${now.session} ${most}`, now.step === null ? [] : shown, (missing) =>
    fetchRows(where, now.step!, now.session, missing, most),
  );
  const last = layer.steps[layer.steps.length - 1];
  const curves = answers.of<Curve>(`curves ${key} ${last} ${run.listing.session}`, shown, (missing) =>
    fetchCurves(where, missing).then(({ steps, shares }) => new Map(missing.map((channel) => [channel, { steps, shares: shares[String(channel)] ?? [] }]))),
  );
  const known = made.current;
  made.current = new Map();
  const lines = shown.map((channel, i) => {
    const row = rows.get(channel);
    const curve = curves.get(channel);
    const top = (first + i) * ROW;
    const parts = [model.view, model.picturesOf(run), run.info, layer, at, before, of, row, curve, top, narrow];
    const last = known.get(channel);
    const line = last?.parts.every((part, j) => part === parts[j]) ? last.line : (
      <Channel
        key={channel}
        model={model}
        place={place}
        channel={channel}
        at={at}
        before={before}
        of={of}
        nameOf={nameOf}
        row={row}
        curve={curve}
        top={top}
        narrow={narrow}
        choice={choice}
        open={() => choose({ open: { run: where.run, channel, probe: null } })}
      />
    );
    made.current.set(channel, { parts, line });
    return line;
  });
  return (
    <div class="lane" data-testid="lane" data-run={where.run} data-step={now.step ?? ""}>
      {lines}
    </div>
  );
}

interface Curve {
  steps: number[];
  shares: (number | null)[];
}

/** All channels in an order: by share at the step, emergence, a mask's share, or change since the pinned step. */
function sort(at: AtStep, before: AtStep | null, of: number, order: string): number[] {
  const share = at.shares.get(of) ?? new Float32Array(at.channels);
  if (order === "emerged") return ordered(Float32Array.from(at.emerged, (step) => (step < 0 ? NaN : -step)), share);
  if (order.startsWith("mass:")) return ordered(at.masses.get(order.slice(5)) ?? share, share);
  const earlier = order === "change" ? before?.shares.get(of) : undefined;
  return earlier ? ordered(share.map((value, i) => Math.abs((value || 0) - (earlier[i]! || 0))), share) : ordered(share, share);
}

interface ChannelProps {
  model: Model;
  place: Place;
  channel: number;
  at: AtStep;
  before: AtStep | null;
  of: number;
  nameOf: (number: number) => string;
  row: Row | Error | undefined;
  curve: Curve | Error | undefined;
  top: number;
  narrow: boolean;
  choice: Choice;
  open: () => void;
}

function Channel({ model, place, channel, at, before, of, nameOf, row, curve, top, narrow, choice, open }: ChannelProps): JSX.Element {
  const share = at.shares.get(of)?.[channel] ?? 0;
  const known = useRef<Row | null>(null);
  if (row !== undefined && !(row instanceof Error)) known.current = row;
  const shown = row instanceof Error ? null : (row ?? (known.current?.channel === channel ? known.current : null));
  const pictures = model.picturesOf(place.run);
  const emerged = at.emerged[channel]!;
  const state = at.states[channel]!;
  const limit = Math.max(0, ...(shown?.maps.map((map) => map?.absmax ?? 0) ?? []));
  const change = before ? share - (before.shares.get(of)?.[channel] || 0) : null;
  const parts = at.classes.map((number) => at.shares.get(number)?.[channel] || 0);
  const total = parts.reduce((a, b) => a + b, 0);
  const most = shown?.maps.length ?? (narrow ? MAPS.narrow : MAPS.wide);
  return (
    <div
      class={row === undefined ? "channel stale" : "channel"}
      data-testid="channel"
      data-channel={channel}
      style={{ top: `${top}px`, height: `${ROW}px`, gridTemplateColumns: narrow ? "52px 56px minmax(28px, 1fr) 64px auto" : "64px 84px minmax(80px, 1fr) 140px auto" }}
    >
      <button type="button" class="number" onClick={open} title={`Channel ${channel}: open`} data-testid={`channel-${channel}`}>
        {channel}
        <small>{state & 2 ? "never fired" : state & 1 ? "unused" : emerged < 0 ? "" : `since ${emerged}`}</small>
      </button>
      <div class="share" title={`${percent(share)} of the positive relevance of ${nameOf(of)}`}>
        {percent(share)}
        {change !== null && <small> {change >= 0 ? "+" : "−"}{percent(Math.abs(change))}</small>}
        <i style={{ width: `${Math.min(100, 100 * (share || 0))}%` }} />
      </div>
      <Spark model={model} curve={curve instanceof Error ? undefined : curve} pinned={choice.pinned} label={`Share of channel ${channel} over the steps`} />
      <div class="facts">
        <div class="classes" title={at.classes.map((number, i) => `${nameOf(number)}: ${percent(parts[i]!)}`).join(", ")}>
          {at.classes.map((number, i) => (
            <span key={number} style={{ width: `${total ? (100 * parts[i]!) / total : 0}%`, background: classColour(i) }} />
          ))}
        </div>
        {[...at.masses].map(([mask, values]) =>
          Number.isNaN(values[channel]!) ? null : (
            <span key={mask}>
              {mask} <b>{percent(values[channel]!)}</b>
            </span>
          ),
        )}
      </div>
      <div class="maps" style={{ width: `${most * ((narrow ? SIDE - 8 : SIDE) + 4) - 4}px` }}>
        {Array.from({ length: most }, (_, i) => {
          const probe = shown?.probes[i];
          const name = probe === undefined ? "" : (place.run.info?.probes.names[probe] ?? String(probe));
          const picture = pictures && !(pictures instanceof Error) && probe !== undefined ? (pictures.pictures[probe] ?? null) : null;
          return (
            <ChannelMap
              key={i}
              model={model}
              map={shown?.maps[i] ?? null}
              picture={picture}
              limit={limit}
              over={choice.over}
              side={narrow ? SIDE - 8 : SIDE}
              label={`Channel ${channel}, probe ${name}`}
              title={shown ? `${name}: relevance ${number(shown.relevance[i] ?? 0)}` : ""}
              step={row === undefined || row instanceof Error ? null : model.currentStep()}
              waiting={shown === null}
            />
          );
        })}
      </div>
    </div>
  );
}

interface SparkProps {
  model: Model;
  curve: Curve | undefined;
  pinned: number | null;
  label: string;
  height?: number;
}

/** A share over all steps; a click or a drag moves the slider. */
export function Spark({ model, curve, pinned, label, height = 34 }: SparkProps): JSX.Element {
  const path = useMemo(() => (curve ? curvePath(curve.shares, 100, height) : ""), [curve, height]);
  const steps = curve?.steps ?? [];
  const now = placeOf(steps, model.currentStep());
  const pin = placeOf(steps, pinned);
  const move = (event: PointerEvent & { currentTarget: SVGSVGElement }): void => {
    if (event.type === "pointermove" && event.buttons === 0) return;
    const box = event.currentTarget.getBoundingClientRect();
    const step = stepAt(steps, (event.clientX - box.left) / box.width);
    if (step !== null) model.setView({ step });
  };
  return (
    <svg class="spark" viewBox={`0 0 100 ${height}`} preserveAspectRatio="none" role="img" aria-label={label} data-testid="spark" onPointerDown={move} onPointerMove={move}>
      <line class="ground" x1="0" x2="100" y1={height} y2={height} />
      {pin !== null && <line class="pin" x1={100 * pin} x2={100 * pin} y1="0" y2={height} />}
      {now !== null && <line class="now" x1={100 * now} x2={100 * now} y1="0" y2={height} />}
      <path d={path} />
    </svg>
  );
}
