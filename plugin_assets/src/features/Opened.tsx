// One channel large: its share over the steps, the maps of all probes of the class, and one probe's film.
import type { JSX } from "preact";
import { number, percent } from "../data/format";
import type { HeatMap } from "../data/decode";
import { bytesOf, fetchFilm, fetchRows, type Row, type Where } from "./answers";
import type { Context, RunLayer } from "./context";
import { askCurves, askStep, keyOf, loggedAt } from "./Lane";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { KindCanvas } from "../kinds/KindCanvas";
import { sizeOf, sourcesOf, type Source } from "../data/source";
import { PictureCanvas } from "../ui/canvases";
import { ChannelMap } from "./maps";
import { askReferences, isDrawn, sourcesOfReference } from "./references";
import { Cursor, Spark } from "./Spark";

const ALL = 64;
const FRAMES = 12;
const LARGE = 112;

interface OpenedProps {
  context: Context;
  runLayer: RunLayer;
  /** Whether it was opened from its row, and not by its address: then it takes the focus. */
  clicked: boolean;
}

export function Opened({ context: { model, answers, of, nameOf, choice, choose }, runLayer, clicked }: OpenedProps): JSX.Element {
  const { run, layer } = runLayer;
  const name = nameOf(of);
  const { channel } = choice.open!;
  const where: Where = { run: run.listing.run, layer: layer.layer, of };
  const key = keyOf(where);
  const now = loggedAt(model, runLayer, model.currentStep());
  const before = choice.pinned === null ? null : loggedAt(model, runLayer, choice.pinned);
  const rowAt = (here: typeof now): Row | Error | undefined => {
    if (here === null) return undefined;
    const load = (missing: number[]) => fetchRows(where, here.step, here.session, missing, ALL);
    const rows = answers.of(`all ${key} ${here.step} ${here.session}`, [channel], load, { bytesOf });
    return rows instanceof Error ? rows : rows.get(channel);
  };
  const found = now && askStep(answers, where, now);
  const row = rowAt(now);
  const pinned = rowAt(before);
  const curves = askCurves(answers, runLayer, where, [channel]);
  const curve = curves instanceof Error ? undefined : curves.get(channel);
  useLayoutEffect(() => answers.settle());
  const close = useRef<HTMLButtonElement>(null);
  const latest = useRef(choose);
  latest.current = choose;
  useEffect(() => {
    if (clicked) close.current?.focus({ preventScroll: true });
    const onKey = (event: KeyboardEvent): void => {
      if (event.key === "Escape" && !event.defaultPrevented) latest.current({ open: null });
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, []);
  const { probes } = run.info!;
  const { names } = probes;
  const pictures = model.picturesOf(run);
  const pictureOf = (probe: number) => (pictures && !(pictures instanceof Error) ? (pictures.pictures[probe] ?? null) : null);
  const known = row instanceof Error ? undefined : row;
  const references = askReferences(answers, run, layer.steps[layer.steps.length - 1], known ? [known] : [], ALL);
  const earlier = pinned instanceof Error ? undefined : pinned;
  /** The inputs of a probe that is no picture, where the map has a value for each of theirs. */
  const drawnAs = (map: HeatMap | null, one: number): readonly Source[] | null =>
    isDrawn(run) && pictures && !(pictures instanceof Error) && (map === null || map.data.length === sizeOf(probes.map_shape)) ? sourcesOf(probes, pictures, one) : null;
  const probe = choice.open!.probe ?? known?.probes[0] ?? null;
  const steps = model.filmSteps(FRAMES).filter((step) => layer.steps.includes(step));
  const session = run.info!.session;
  const film =
    probe === null || session === null || steps.length === 0
      ? null
      : answers.one(`film ${key} ${channel} ${probe} ${session} ${steps.join(",")}`, () => fetchFilm(where, session, channel, probe, steps));
  const maps: (HeatMap | null)[] = Array.isArray(film) ? film : [];
  const limit = Math.max(0, ...(known?.maps.map((map) => map?.absmax ?? 0) ?? []), ...(earlier?.maps.map((map) => map?.absmax ?? 0) ?? []));
  const filmLimit = Math.max(0, ...maps.map((map) => map?.absmax ?? 0));
  const at = found instanceof Error ? null : found;
  const share = at?.shares.get(of)?.[channel] ?? null;
  return (
    <div class="opened" data-testid="opened-channel" data-channel={channel}>
      <div class="bar">
        <button ref={close} type="button" data-testid="close-channel" onClick={() => choose({ open: null })}>
          ← All channels
        </button>
        <h2>
          Channel {channel} of {layer.layer}, {name}
        </h2>
      </div>
      <p class="aside wrap">
        {share === null ? "" : `${percent(share)} of the class's positive relevance at step ${now?.step}. `}
        {at && at.emerged[channel]! >= 0 ? `Emerged at step ${at.emerged[channel]}: its share stays at or above half of its last one from there on. ` : ""}
        {at && [...at.masses].map(([mask, values]) => (Number.isNaN(values[channel]!) ? "" : `${percent(values[channel]!)} of its own positive relevance lies in ${mask}. `)).join("")}
      </p>
      <div class="large">
        <Spark model={model} curve={curve} label={`Share of channel ${channel} over the steps`} height={70} />
        <Cursor model={model} steps={layer.steps} pinned={choice.pinned} style={{ inset: "0" }} />
      </div>
      {row instanceof Error && <p role="alert">{row.message}</p>}
      <h3>The probes of {name}, by relevance in this channel</h3>
      {known && known.maps.every((map) => map === null) && <p class="aside">Its own heatmaps are not among those logged at this step: these are of channels that lead or have led.</p>}
      <div class="grid" data-testid="channel-probes">
        {known?.probes.map((one, i) => {
          const other = earlier ? (earlier.maps[earlier.probes.indexOf(one)] ?? null) : null;
          const drawn = drawnAs(known.maps[i] ?? null, one);
          return (
            <figure key={one} class={drawn ? "drawn" : ""}>
              {drawn && <KindCanvas sources={drawn} map={known.maps[i] ?? null} limit={limit} step={now?.step ?? null} size="card" view={model.view} label={`Channel ${channel}, probe ${names[one]}`} />}
              <button type="button" class={one === probe ? "on" : ""} aria-label={`${names[one]}: show its film`} onClick={() => choose({ open: { ...choice.open!, probe: one } })}>
                {drawn ? "Its film" : <ChannelMap model={model} map={known.maps[i] ?? null} picture={pictureOf(one)} limit={limit} over={choice.over} side={LARGE} label={`Channel ${channel}, probe ${names[one]}`} title="" step={now?.step ?? null} waiting={false} />}
              </button>
              {choice.pinned !== null && known.maps[i] && other && (
                <ChannelMap model={model} map={minus(known.maps[i]!, other)} picture={null} limit={limit} over={false} side={LARGE} label={`Difference to step ${choice.pinned}`} title={`Now minus step ${choice.pinned}`} step={now?.step ?? null} waiting={false} />
              )}
              <figcaption>
                <b>{names[one]}</b>
                <br />
                relevance {number(known.relevance[i] ?? 0)}
              </figcaption>
            </figure>
          );
        })}
      </div>
      {probe !== null && (
        <>
          <h3>{names[probe]} over the steps</h3>
          {film instanceof Error ? (
            <p role="alert">{film.message}</p>
          ) : (
            <div class="film-row" data-testid="channel-film">
              {steps.map((step, i) => (
                <figure key={step} class={step === now?.step ? "on" : ""}>
                  <button type="button" aria-label={`Step ${step}`} onClick={() => model.setView({ step })}>
                    <ChannelMap model={model} map={maps[i] ?? null} picture={maps[i] ? pictureOf(probe) : null} limit={filmLimit} over={choice.over} side={72} label={`Step ${step}`} title="" step={step} waiting={film === null} />
                  </button>
                  {step}
                </figure>
              ))}
            </div>
          )}
        </>
      )}
      {known?.top && (
        <>
          <h3>Reference samples with the most relevance here, each for the class predicted of it</h3>
          <div class="grid" data-testid="channel-references">
            {known.top.map((sample, i) => {
              const kept = references.get(sample) ?? null;
              const picture = kept?.pictures.pictures[kept.index] ?? null;
              const sources = kept && sourcesOfReference(run, kept);
              const label = `Sample ${sample}`;
              return (
                <figure key={sample} class={sources ? "drawn" : ""}>
                  {sources ? (
                    <KindCanvas sources={sources} map={null} limit={0} step={null} size="card" view={model.view} label={label} />
                  ) : (
                    <span class="map" style={{ width: `${LARGE}px`, height: `${LARGE}px` }}>
                      {picture ? <PictureCanvas picture={picture} grey={false} label={label} /> : <span class="none">{references.has(sample) ? "its picture was not kept" : ""}</span>}
                    </span>
                  )}
                  <figcaption>
                    <b>sample {sample}</b>
                    <br />
                    relevance {number(known.top_relevance?.[i] ?? 0)}
                  </figcaption>
                </figure>
              );
            })}
          </div>
        </>
      )}
    </div>
  );
}

/** One map less another of the same shape. */
function minus(a: HeatMap, b: HeatMap): HeatMap {
  const values = (map: HeatMap): Float32Array =>
    map.kind === "float" ? map.data : Float32Array.from(map.data, (q) => (q === -128 ? NaN : Math.sign(q) * (q / 127) ** 2 * map.absmax));
  const other = values(b);
  const data = values(a).map((value, i) => value - other[i]!);
  return { kind: "float", data, absmax: data.reduce((most, value) => Math.max(most, Math.abs(value)), 0), height: a.height, width: a.width };
}
