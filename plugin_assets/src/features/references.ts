// The reference samples with the most relevance in a channel, as pictures or as what else they are.
import { number } from "../data/format";
import type { HeatMap, ProbePictures } from "../data/decode";
import type { RunState } from "../data/run";
import type { probePanel } from "../kinds/drawing";
import type { Look } from "../kinds/panel";
import { isPicture, sizeOf, sourcesOf, type Source } from "../data/source";
import type { ColourName } from "../paint/colormap";
import { fetchReferences, type Answers, type Reference, type Row } from "./answers";
import type { Tile } from "./maps";

const PLAIN: Pick<Look, "order" | "slice" | "zoom" | "outlines"> = { order: "given", slice: 0.5, zoom: null, outlines: false };

/** A table without relevance is nothing but its names and values, which a small one leaves out. */
const sizeFor = (sources: readonly Source[], map: HeatMap | null): Look["size"] => (map === null && sources.some(({ info }) => info.kind === "table") ? "card" : "small");

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

/** A reference sample, null where it was not kept up to the step `last`. */
interface Sample {
  reference: Reference | null;
  last: number | undefined;
}

/** The first samples that rows name. */
export function askReferences(answers: Answers, run: RunState, last: number | undefined, rows: readonly Row[], most: number): ReadonlyMap<number, Reference | null> {
  const session = rows.find(({ top }) => top !== null)?.top_session ?? null;
  if (session === null) return new Map();
  const numbers = [...new Set(rows.flatMap(({ top }) => top?.slice(0, most) ?? []))];
  const load = async (missing: number[]): Promise<Map<number, Sample>> =>
    new Map([...(await fetchReferences(run.listing.run, session, missing))].map(([number, reference]) => [number, { reference, last }]));
  // A later step may bring a sample that is not kept yet: of those alone is asked again.
  const isMissing = (sample: Sample | undefined): boolean => sample === undefined || (sample.reference === null && sample.last !== last);
  const found = answers.of(`references ${run.listing.run} ${session}`, numbers, load, { bytesOf: () => 16_000, isMissing });
  if (found instanceof Error) return new Map(numbers.map((sample) => [sample, null]));
  return new Map([...found].map(([sample, { reference }]) => [sample, reference]));
}

/** The inputs of a sample, where it is drawn as what it is and no picture. */
export const sourcesOfReference = (run: RunState, { pictures, index }: Reference): readonly Source[] | null =>
  isDrawn(run) ? sourcesOf(run.info!.probes, pictures, index) : null;

export type DrawProbe = (probe: number, map: HeatMap | null, limit: number) => Tile["panel"];

/** Draws probes that are no pictures as what they are, with a map that has a value for each of theirs; null for others. */
export function drawProbes(run: RunState, pictures: ProbePictures | null, draw: Draw, colours: ColourName, gamma: number): DrawProbe | null {
  if (draw === null || pictures === null || !isDrawn(run)) return null;
  const { probes } = run.info!;
  const size = sizeOf(probes.map_shape);
  return (probe, map, limit) => {
    if (pictures.pictures[probe] === undefined || (map !== null && map.data.length !== size)) return undefined;
    const sources = sourcesOf(probes, pictures, probe);
    return (width, page) => draw(sources, width, { ...PLAIN, size: sizeFor(sources, map), map, limit, colours, gamma, ...page });
  };
}

/** A row's samples as tiles; null while one of them is on its way. */
export function referenceTiles(run: RunState, row: Row | undefined, known: ReadonlyMap<number, Reference | null>, most: number, draw: Draw): Tile[] | null {
  const samples = row?.top?.slice(0, most) ?? [];
  if (row === undefined || !samples.every((sample) => known.has(sample))) return null;
  return samples.map((sample, i) => {
    const kept = known.get(sample) ?? null;
    const sources = kept && sourcesOfReference(run, kept);
    const tile: Tile = { map: null, picture: kept ? (kept.pictures.pictures[kept.index] ?? null) : null, description: `sample ${sample}: relevance ${number(row.top_relevance?.[i] ?? 0)}` };
    if (sources && draw) {
      tile.panel = (width, page) => draw(sources, width, { ...PLAIN, size: sizeFor(sources, null), map: null, limit: 0, colours: "seismic", gamma: 1, ...page });
    }
    return tile;
  });
}
