// What the view of features asks the server for, and what it keeps of the answers.
import { hasServer, json, request } from "../data/api";
import type { WatchedLayer } from "../data/types";
import { decodeProbes, inflate, layOut, openEnvelope, planeOf, type HeatMap, type ProbePictures } from "../data/decode";
import type { Job } from "../data/loader";
import { ViewCache } from "../state/cache";

/** All channels of a layer at a step, for one class. */
export interface AtStep {
  channels: number;
  classes: number[];
  needed: number;
  /** Class -> share of its positive relevance, a number a channel. */
  shares: Map<number, Float32Array>;
  emerged: Float32Array;
  /** 1 unused, 2 never fired, 4 with maps. */
  states: Float32Array;
  masses: Map<string, Float32Array>;
}

/** A channel's most relevant probes of a class, with the channel's own heatmaps where they are stored. */
export interface Row {
  channel: number;
  probes: number[];
  relevance: (number | null)[];
  maps: (HeatMap | null)[];
  masses: Record<string, (number | null)[]>;
  top: number[] | null;
  top_relevance: (number | null)[] | null;
  /** The session whose reference samples these are. */
  top_session: string | null;
}

/** A reference sample as it was kept: its place among these. */
export interface Reference {
  pictures: ProbePictures;
  index: number;
}

export const bytesOf = ({ maps }: Row): number => 500 + maps.reduce((sum, map) => sum + (map?.data.byteLength ?? 0), 0);

export interface Curves {
  steps: number[];
  shares: Record<string, (number | null)[]>;
}

export interface Where {
  run: string;
  layer: string;
  of: number;
}

const parameters = ({ run, layer, of }: Where): Record<string, string | number> => ({ run, layer, class: of < 0 ? "none" : of });

export const fetchCurves = (where: Where, channels: readonly number[]): Promise<Curves> =>
  json("channel_curves", { ...parameters(where), channels: channels.join(",") });

export async function fetchAtStep(where: Where, step: number, session: string): Promise<AtStep> {
  const answer = await request("channels", { ...parameters(where), step, session });
  const { header, chunks } = openEnvelope<{
    channels: number;
    classes: number[];
    needed: number;
    masks: string[];
    places: Record<string, [number, number]>;
  }>(await answer.arrayBuffer());
  const floats = async (name: string, count: number): Promise<Float32Array> =>
    new Float32Array((await inflate(chunks, header.places[name]!, 4 * count)).buffer);
  const { channels, classes, masks } = header;
  const [shares, emerged, states, ...masses] = await Promise.all([
    floats("shares", channels * classes.length),
    floats("emerged", channels),
    floats("states", channels),
    ...masks.map((mask) => floats(`mass ${mask}`, channels)),
  ]);
  return {
    channels,
    classes,
    needed: header.needed,
    shares: new Map(classes.map((number, i) => [number, shares!.subarray(i * channels, (i + 1) * channels)])),
    emerged: emerged!,
    states: states!,
    masses: new Map(masks.map((mask, i) => [mask, masses[i]!])),
  };
}

interface Packed {
  /** Bytes of all maps, one behind the other, in one chunk; null without any. */
  codes: [number, number] | null;
  shape: number[];
  encoding: string;
}

/** Maps that lie one behind the other in one chunk: an inflation for all of them. */
async function unpack(packed: Packed, chunks: Uint8Array, scales: readonly (number | null)[]): Promise<(HeatMap | null)[]> {
  const stored = scales.filter((scale) => scale !== null).length;
  if (packed.codes === null || stored === 0) return scales.map(() => null);
  const pixels = packed.shape.reduce((a, b) => a * b, 1);
  const plane = planeOf(packed.shape);
  const { height, width } = plane;
  const isCodes = packed.encoding === "sqrt8";
  const raw = await inflate(chunks, packed.codes, stored * pixels * (isCodes ? 1 : 4));
  let at = 0;
  return scales.map((scale) => {
    if (scale === null) return null;
    const start = pixels * at++;
    if (isCodes) return { kind: "sqrt8", data: layOut(new Int8Array(raw.buffer, start, pixels), plane, 0), absmax: scale, height, width };
    return { kind: "float", data: layOut(new Float32Array(raw.buffer, 4 * start, pixels), plane, 0), absmax: scale, height, width };
  });
}

export async function fetchRows(where: Where, step: number, session: string, channels: readonly number[], most: number): Promise<Map<number, Row>> {
  const answer = await request("channel_maps", { ...parameters(where), step, session, channels: channels.join(","), most });
  const { header, chunks } = openEnvelope<Packed & { top_session: string | null; rows: (Omit<Row, "maps" | "top_session"> & { scale: (number | null)[] })[] }>(await answer.arrayBuffer());
  const maps = await unpack(header, chunks, header.rows.flatMap((row) => row.scale));
  let at = 0;
  const { top_session } = header;
  const rows = new Map(header.rows.map((row) => [row.channel, { ...row, top_session, maps: row.scale.map(() => maps[at++]!) }]));
  // A page with its data inside holds the rows of channels with heatmaps and of leading ones.
  for (const channel of hasServer() ? [] : channels) {
    if (!rows.has(channel)) rows.set(channel, { channel, probes: [], relevance: [], scale: [], maps: [], masses: {}, top: null, top_relevance: null, top_session });
  }
  return rows;
}

/** The reference samples of these numbers; null: not kept (yet). */
export async function fetchReferences(run: string, session: string, numbers: readonly number[]): Promise<Map<number, Reference | null>> {
  const answer = await (await request("references", { run, session, numbers: numbers.join(",") })).arrayBuffer();
  const found = new Map<number, Reference | null>(numbers.map((number) => [number, null]));
  const { header } = openEnvelope<{ numbers: number[] }>(answer);
  if (header.numbers.length === 0) return found;
  const pictures = await decodeProbes(answer);
  header.numbers.forEach((number, index) => found.set(number, { pictures, index }));
  return found;
}

export async function fetchFilm(where: Where, session: string, channel: number, probe: number, steps: readonly number[]): Promise<(HeatMap | null)[]> {
  const answer = await request("channel_film", { ...parameters(where), session, channel, probe, steps: steps.join(",") });
  const { header, chunks } = openEnvelope<Packed & { scale: (number | null)[] }>(await answer.arrayBuffer());
  return unpack(header, chunks, header.scale);
}

const PARALLEL = 4;
const BUDGET = 48 << 20;

/** What the view has asked for, kept within a budget. */
export class Answers extends ViewCache {
  private readonly loader = this.loaderOf<Answer>(BUDGET, PARALLEL);
  private now: Job<Answer>[] = [];
  private ahead: Job<Answer>[] = [];
  /** The watched layers of runs as last known: shown until those of a run that has logged more are there. */
  readonly layers = new Map<string, WatchedLayer[]>();

  /** Starts the list of what is wanted anew: what a drawing of the view does not ask for again is dropped. */
  begin(): void {
    this.now = [];
    this.ahead = [];
  }

  /** Loads what was asked for since. */
  settle(): void {
    this.loader.want([...this.now, ...this.ahead]);
  }

  /** The answer of a key, an Error where there is none, null while it is on its way. */
  one<Value>(key: string, load: () => Promise<Value>, early = false): Value | Error | null {
    (early ? this.ahead : this.now).push({ key, load: async () => ({ value: await load(), bytes: SMALL }), bytes: ({ bytes }) => bytes });
    const failure = this.loader.failure(key);
    return failure === undefined ? ((this.loader.get(key)?.value as Value | undefined) ?? null) : new Error(failure);
  }

  /** What is known of numbers under a key, an Error where it failed; those that are missing are asked for together. */
  of<Value>(key: string, numbers: readonly number[], load: Load<Value>, { bytesOf = () => SMALL, early = false, isMissing = (value) => value === undefined }: Asked<Value> = {}): ReadonlyMap<number, Value> | Error {
    const known = (): ReadonlyMap<number, Value> => (this.loader.get(key)?.value as ReadonlyMap<number, Value> | undefined) ?? NONE;
    const missing = (from: ReadonlyMap<number, Value>): number[] => numbers.filter((number) => isMissing(from.get(number)));
    const enough = ({ value }: Answer): boolean => missing(value as ReadonlyMap<number, Value>).length === 0;
    const more = async (): Promise<Answer> => {
      const wanted = missing(known());
      const found = await load(wanted);
      if (wanted.some((number) => isMissing(found.get(number)))) throw new Error("The server's answer lacks a part of what was asked for.");
      const value = new Map([...known(), ...found]);
      return { value, bytes: [...value.values()].reduce((sum, one) => sum + bytesOf(one), 0) };
    };
    if (numbers.length) (early ? this.ahead : this.now).push({ key, load: more, bytes: ({ bytes }) => bytes, enough });
    const failure = this.loader.failure(key);
    return failure === undefined ? known() : new Error(failure);
  }
}

interface Asked<Value> {
  bytesOf?: (value: Value) => number;
  /** Whether it is loaded ahead, when nothing else is wanted. */
  early?: boolean;
  /** Whether what is known of a number must be asked for. */
  isMissing?: (value: Value | undefined) => boolean;
}

type Load<Value> = (missing: number[]) => Promise<ReadonlyMap<number, Value>>;

interface Answer {
  value: unknown;
  bytes: number;
}

/** About what an answer without maps takes. */
const SMALL = 4096;
const NONE = new Map<number, never>();
