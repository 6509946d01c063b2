// The reference samples with the most relevance in a channel, as pictures or as what else they are.
import { number } from "../data/format";
import type { RunState } from "../data/jobs";
import type { probePanel } from "../kinds/drawing";
import { isPicture, sourcesOf, type Source } from "../kinds/source";
import { fetchReferences, type Answers, type Reference, type Row } from "./data";
import type { Tile } from "./maps";

export type Draw = typeof probePanel | null;

/** Texts, series and tables are drawn as such; pictures and slices of volumes as pictures. */
export const isDrawn = (run: RunState): boolean => {
  const { probes } = run.info!;
  return !isPicture(probes) && (probes.inputs ?? []).every(({ kind }) => kind !== "volume");
};

const drawing = () => import("../kinds/drawing").then(({ probePanel }) => ({ draw: probePanel as Draw }));
const nothing = (): Promise<{ draw: Draw }> => Promise.resolve({ draw: null });

/** What loads the code that draws samples of a run; none is loaded for pictures. */
export const drawingOf = (run: RunState): (() => Promise<{ draw: Draw }>) => (isDrawn(run) ? drawing : nothing);

/** The first samples that rows name. */
export function askReferences(answers: Answers, run: RunState, last: number | undefined, rows: readonly Row[], most: number): ReadonlyMap<number, Reference | null> {
  const session = rows.find(({ top }) => top !== null)?.top_session ?? null;
  if (session === null) return new Map();
  const numbers = [...new Set(rows.flatMap(({ top }) => top?.slice(0, most) ?? []))];
  const load = (missing: number[]) => fetchReferences(run.listing.run, session, missing);
  const found = answers.of(`references ${run.listing.run} ${session} ${last}`, numbers, load, () => 16_000);
  return found instanceof Error ? new Map(numbers.map((sample) => [sample, null])) : found;
}

/** The inputs of a sample, where it is drawn as what it is and no picture. */
export const sourcesOfReference = (run: RunState, { pictures, index }: Reference): readonly Source[] | null =>
  isDrawn(run) ? sourcesOf(run.info!.probes, pictures, index) : null;

/** A row's samples as tiles; null while one of them is on its way. */
export function referenceTiles(run: RunState, row: Row | undefined, known: ReadonlyMap<number, Reference | null>, most: number, draw: Draw): Tile[] | null {
  const samples = row?.top?.slice(0, most) ?? [];
  if (row === undefined || !samples.every((sample) => known.has(sample))) return null;
  return samples.map((sample, i) => {
    const kept = known.get(sample) ?? null;
    const sources = kept && sourcesOfReference(run, kept);
    const tile: Tile = { map: null, picture: kept ? (kept.pictures.pictures[kept.index] ?? null) : null, words: `sample ${sample}: relevance ${number(row.top_relevance?.[i] ?? 0)}` };
    if (sources && draw) {
      tile.panel = (width, colours) =>
        draw(sources, width, { map: null, limit: 0, colours: "seismic", gamma: 1, size: "small", order: "given", slice: 0.5, zoom: null, outlines: false, ...colours });
    }
    return tile;
  });
}
