// A row: a channel with its share, its curve, the classes that use it, and its maps of the most relevant probes.
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { number, percent } from "../data/format";
import type { ProbePictures } from "../data/decode";
import type { ColourName } from "../paint/colormap";
import type { Model } from "../state/model";
import { memo } from "../ui/memo";
import type { AtStep, Row } from "./answers";
import { legendColour } from "./context";
import { RowMaps, widthOf, type Tile } from "./maps";
import type { DrawProbe } from "./references";
import { Spark, type Curve } from "./Spark";

/** Height of a row, in pixels. */
export const ROW = 76;
/** Height of the titles above the rows. */
export const HEADS = 24;

/** The columns of a row: how wide, with how many maps and references of `side` pixels; the curve takes what room there is. */
export interface Columns {
  maps: number;
  references: number;
  side: number;
  number: number;
  share: number;
  facts: number;
  gap: number;
}

const LARGE = { side: 64, number: 64, share: 72, facts: 140, gap: 12 };
const SMALL = { side: 52, number: 52, share: 50, facts: 64, gap: 12 };
const WIDE = 700;
const WIDER = 1010;

/** The columns that fit into so many pixels. */
export function columnsOf(room: number, references: boolean): Columns {
  if (room < WIDE) return { ...SMALL, maps: references ? 2 : 3, references: references ? 1 : 0 };
  if (!references) return { ...LARGE, maps: 6, references: 0 };
  return room < WIDER ? { ...LARGE, maps: 4, references: 2 } : { ...LARGE, maps: 6, references: 3 };
}

const mapsOf = ({ maps, references, side, gap }: Columns): number => widthOf(maps, side) + (references ? widthOf(references, side) + gap : 0);

const template = ({ maps, references, side, number, share, facts }: Columns): string =>
  [number, share, 0, facts, widthOf(maps, side), ...(references ? [widthOf(references, side)] : [])].map((width) => (width ? `${width}px` : "minmax(28px, 1fr)")).join(" ");

const styleOf = (columns: Columns): Record<string, string> => ({ columnGap: `${columns.gap}px`, gridTemplateColumns: template(columns) });

/** The position of the curves in a lane. */
export const curvesAt = (columns: Columns): { left: string; right: string } => ({
  left: `${columns.number + columns.share + 2 * columns.gap}px`,
  right: `${columns.facts + mapsOf(columns) + 2 * columns.gap}px`,
});

/** The titles of the columns. */
export function Heads({ columns, name }: { columns: Columns; name: string }): JSX.Element {
  return (
    <div class="heads" style={{ height: `${HEADS}px`, ...styleOf(columns) }}>
      <span>Channel</span>
      <span title={`of the positive relevance of ${name}`}>Share</span>
      <span title="Its share over all steps">{columns.side < LARGE.side ? "Steps" : "Over the steps"}</span>
      <span title="How the classes share the channel, and what of its own relevance lies in each mask">{columns.side < LARGE.side ? "Used by" : "Used by, in masks"}</span>
      <span title={`Its own heatmaps of the probes of ${name} that have most relevance in it`}>Its own heatmaps</span>
      {columns.references > 0 && <span title="The reference samples with the most relevance in it, each for the class predicted of it">References</span>}
    </div>
  );
}

export interface ChannelProps {
  model: Model;
  channel: number;
  at: AtStep;
  before: AtStep | null;
  of: number;
  nameOf: (number: number) => string;
  probes: readonly string[];
  pictures: ProbePictures | null;
  /** Draws probes that are no pictures. */
  draw: DrawProbe | null;
  /** Undefined while it is on its way. */
  row: Row | undefined;
  curve: Curve | undefined;
  /** The largest share of the class at the step: a bar of full length. */
  largest: number;
  /** Those of its reference samples that the row shows; null while they are on their way. */
  references: readonly Tile[] | null;
  top: number;
  columns: Columns;
  step: number | null;
  colours: ColourName;
  gamma: string;
  over: boolean;
  opacity: number;
  open: (channel: number) => void;
}

export const Channel = memo(function Channel(props: ChannelProps): JSX.Element {
  const { model, channel, at, before, of, nameOf, probes, pictures, draw, row, curve, largest, references, top, columns, step, colours, gamma, over, opacity, open } = props;
  const share = at.shares.get(of)?.[channel] || 0;
  const emerged = at.emerged[channel]!;
  const state = at.states[channel]!;
  const change = before ? share - (before.shares.get(of)?.[channel] || 0) : null;
  const limit = Math.max(0, ...(row?.maps.slice(0, columns.maps).map((map) => map?.absmax ?? 0) ?? []));
  const tiles = useMemo(() => (row ? tilesOf(row, columns.maps, probes, pictures, draw, limit) : null), [row, columns.maps, probes, pictures, draw, limit]);
  return (
    <div
      class="channel"
      data-testid="channel"
      data-channel={channel}
      style={{ top: `${HEADS + top}px`, height: `${ROW}px`, ...styleOf(columns) }}
    >
      <button type="button" class="number" onClick={() => open(channel)} title={`Channel ${channel}: open`} data-testid={`channel-${channel}`}>
        {channel}
        <small>{state & 2 ? "never fired" : state & 1 ? "unused" : emerged < 0 ? "" : `since ${emerged}`}</small>
      </button>
      <div class="part" title={`${percent(share)} of the positive relevance of ${nameOf(of)}`}>
        {percent(share)}
        {change !== null && <small> {change >= 0 ? "+" : "−"}{percent(Math.abs(change))}</small>}
        <i style={{ backgroundSize: `${largest ? Math.min(100, (100 * share) / largest).toFixed(1) : 0}% 100%` }} />
      </div>
      <Spark model={model} curve={curve} label={`Share of channel ${channel} over the steps`} height={34} />
      <div class="facts">
        <Uses at={at} channel={channel} nameOf={nameOf} />
        {[...at.masses].map(([mask, values]) =>
          Number.isNaN(values[channel]!) ? null : (
            <span key={mask}>
              {mask} <b>{percent(values[channel]!)}</b>
            </span>
          ),
        )}
      </div>
      <RowMaps tiles={tiles} count={columns.maps} side={columns.side} limit={limit} colours={colours} gamma={Number(gamma)} over={over} opacity={opacity} label={`Channel ${channel}`} step={step} testid="channel-maps" instead="no map" />
      {columns.references > 0 && (
        <RowMaps tiles={references} count={columns.references} side={columns.side} limit={0} colours={colours} gamma={1} over={false} opacity={1} label={`Reference samples of channel ${channel}`} step={step} testid="channel-references" instead="not kept" />
      )}
    </div>
  );
});

/** How the classes share a channel, as parts of a bar. */
function Uses({ at, channel, nameOf }: { at: AtStep; channel: number; nameOf: (number: number) => string }): JSX.Element {
  const parts = at.classes.map((of) => at.shares.get(of)?.[channel] || 0);
  const total = parts.reduce((a, b) => a + b, 0);
  let end = 0;
  const stops = parts.map((part, i) => `${legendColour(i)} ${end.toFixed(1)}% ${(end += total ? (100 * part) / total : 0).toFixed(1)}%`);
  const title = at.classes.map((of, i) => `${nameOf(of)}: ${percent(parts[i]!)}`).join(", ");
  return <div class="classes" title={title} style={total ? { background: `linear-gradient(90deg, ${stops.join(", ")})` } : {}} />;
}

function tilesOf(row: Row, most: number, probes: readonly string[], pictures: ProbePictures | null, draw: DrawProbe | null, limit: number): Tile[] {
  return row.probes.slice(0, most).map((probe, i) => ({
    map: row.maps[i] ?? null,
    picture: pictures?.pictures[probe] ?? null,
    panel: draw?.(probe, row.maps[i] ?? null, limit),
    description: `${probes[probe] ?? probe}: relevance ${number(row.relevance[i] ?? 0)}`,
  }));
}
