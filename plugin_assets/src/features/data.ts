// What the view of features asks the server for, and what it keeps of the answers.
import { json, request } from "../data/api";
import { inflate, openEnvelope, planeOf, type HeatMap } from "../data/decode";

export interface Layer {
  layer: string;
  channels: number;
  classes: number[];
  steps: number[];
  /** At each of the steps: channels that make 90 % of the positive relevance, without any, and that never fired. */
  needed: number[];
  unused: number[];
  dead: number[];
}

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
}

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

export const fetchLayers = async (run: string): Promise<Layer[]> => (await json<{ layers: Layer[] }>("features", { run })).layers;

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
  const { height, width } = planeOf(packed.shape);
  const isCodes = packed.encoding === "sqrt8";
  const raw = await inflate(chunks, packed.codes, stored * pixels * (isCodes ? 1 : 4));
  let at = 0;
  return scales.map((scale) => {
    if (scale === null) return null;
    const start = pixels * at++;
    if (isCodes) return { kind: "sqrt8", data: new Int8Array(raw.buffer, start, pixels), absmax: scale, height, width };
    return { kind: "float", data: new Float32Array(raw.buffer, 4 * start, pixels), absmax: scale, height, width };
  });
}

export async function fetchRows(where: Where, step: number, session: string, channels: readonly number[], most: number): Promise<Map<number, Row>> {
  const answer = await request("channel_maps", { ...parameters(where), step, session, channels: channels.join(","), most });
  const { header, chunks } = openEnvelope<Packed & { rows: (Omit<Row, "maps"> & { scale: (number | null)[] })[] }>(await answer.arrayBuffer());
  const maps = await unpack(header, chunks, header.rows.flatMap((row) => row.scale));
  let at = 0;
  return new Map(header.rows.map((row) => [row.channel, { ...row, maps: row.scale.map(() => maps[at++]!) }]));
}

export async function fetchFilm(where: Where, session: string, channel: number, probe: number, steps: readonly number[]): Promise<(HeatMap | null)[]> {
  const answer = await request("channel_film", { run: where.run, layer: where.layer, session, channel, probe, steps: steps.join(",") });
  const { header, chunks } = openEnvelope<Packed & { scale: (number | null)[] }>(await answer.arrayBuffer());
  return unpack(header, chunks, header.scale);
}

const PARALLEL = 6;
const KEPT = 60;

/** Asks for what is not there yet, at most so much at a time, and keeps the answers. `changed` when one has come. */
export class Answers {
  private readonly single = new Map<string, unknown>();
  private readonly many = new Map<string, Map<number, unknown>>();
  private readonly asked = new Set<string>();

  constructor(private readonly changed: () => void) {}

  /** The answer of a key, an Error where there is none, null while it is on its way. */
  one<Value>(key: string, load: () => Promise<Value>): Value | Error | null {
    if (this.single.has(key)) return this.single.get(key) as Value | Error;
    this.ask(key, load, (value) => {
      this.single.set(key, value);
      forget(this.single);
    });
    return null;
  }

  /** What is known of numbers under a key; those that are missing are asked for together. */
  of<Value>(key: string, numbers: readonly number[], load: (missing: number[]) => Promise<Map<number, Value>>): Map<number, Value | Error> {
    let known = this.many.get(key);
    if (!known) this.many.set(key, (known = new Map()));
    const here = known;
    const missing = numbers.filter((number) => !here.has(number) && !this.asked.has(`${key} ${number}`));
    if (missing.length && this.asked.size < 64 * PARALLEL) {
      for (const number of missing) this.asked.add(`${key} ${number}`);
      const done = (): void => missing.forEach((number) => this.asked.delete(`${key} ${number}`));
      load(missing)
        .then(
          (found) => missing.forEach((number) => here.set(number, found.get(number) ?? new Error("not in the answer"))),
          (error: unknown) => missing.forEach((number) => here.set(number, asError(error))),
        )
        .finally(() => {
          done();
          forget(this.many);
          this.changed();
        });
    }
    return here as Map<number, Value | Error>;
  }

  private ask<Value>(key: string, load: () => Promise<Value>, keep: (value: Value | Error) => void): void {
    if (this.asked.has(key)) return;
    this.asked.add(key);
    load()
      .then(keep, (error: unknown) => keep(asError(error)))
      .finally(() => {
        this.asked.delete(key);
        this.changed();
      });
  }
}

const asError = (error: unknown): Error => (error instanceof Error ? error : new Error(String(error)));

/** Drops the oldest answers. */
function forget(kept: Map<string, unknown>): void {
  for (const key of kept.keys()) {
    if (kept.size <= KEPT) return;
    kept.delete(key);
  }
}
