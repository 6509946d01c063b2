// Answers from the data inside the page itself: a file that was handed on has no server behind it.
import { inflate, openEnvelope } from "./decode";
import { answerFrom, ApiError } from "./api";
import type { Timeline } from "./types";

type Parameters = Record<string, string | number>;

/** The parameters by which answers are kept in the file, in this order: see `page_file.py`. */
const KEPT: Record<string, string[]> = {
  runs: [],
  run: ["run"],
  timeline: ["run"],
  clusters: ["run"],
  notes: ["run"],
  probes: ["hash"],
  step: ["run", "step"],
  step_channels: ["run", "step"],
  histogram: ["kind", "name", "run", "step"],
  features: ["run"],
  channels: ["class", "layer", "run", "step"],
  channel_curves: ["class", "layer", "run"],
  channel_maps: ["class", "layer", "run", "step"],
  references: ["run", "session"],
};

interface StepAnswer {
  session: string;
  encoding: string;
  map_shape: number[];
  scale: (number | null)[];
  maps: ([number, number] | null)[];
  predicted?: { shape: number[]; type: string; maps: ([number, number] | null)[] };
  channels?: number;
}

interface ChannelsAnswer {
  channel_maps: [number, number][][];
  channel_scale: (number | null)[][];
}

interface MapsAnswer {
  codes: [number, number] | null;
  shape: number[];
  encoding: string;
  rows: { channel: number; probes: number[]; scale: (number | null)[] }[];
}

/** An answer of a header and the bytes behind it. */
function envelope(header: unknown, chunks: readonly Uint8Array[]): Uint8Array {
  const text = new TextEncoder().encode(JSON.stringify(header));
  const out = new Uint8Array(4 + text.length + chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  new DataView(out.buffer).setUint32(0, text.length, true);
  let at = 4;
  for (const part of [text, ...chunks]) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

async function deflate(chunks: readonly Uint8Array[]): Promise<Uint8Array> {
  const stream = new Blob([...chunks] as BlobPart[]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

class Embedded {
  constructor(
    private readonly places: Record<string, [number, number]>,
    private readonly bytes: Uint8Array,
  ) {}

  async answer(route: string, parameters: Parameters): Promise<Response> {
    if (route === "../../runs") return Response.json(this.runs());
    if (route === "film") return new Response(this.film(parameters) as BodyInit);
    if (route === "channel_film") return new Response((await this.channelFilm(parameters)) as BodyInit);
    if (route === "timeline") return Response.json(this.timeline(parameters));
    return new Response(this.found(route, parameters) as BodyInit);
  }

  private found(route: string, parameters: Parameters): Uint8Array {
    const key = JSON.stringify([route, ...(KEPT[route] ?? []).map((name) => String(parameters[name]))]);
    const place = Object.hasOwn(this.places, key) ? this.places[key] : undefined;
    if (!place) throw new ApiError("This file does not hold what was asked for: it was left out when the page was exported.", 404);
    return this.bytes.subarray(place[0], place[0] + place[1]);
  }

  private json<Answer>(route: string, parameters: Parameters): Answer {
    return JSON.parse(new TextDecoder().decode(this.found(route, parameters))) as Answer;
  }

  private runs(): string[] {
    return this.json<{ runs: { run: string }[] }>("runs", {}).runs.map(({ run }) => run);
  }

  /** All columns are kept: those that are asked for, of one probe where that is. */
  private timeline(parameters: Parameters): Timeline {
    const all = this.json<Timeline>("timeline", parameters);
    const wanted = String(parameters.columns ?? "").split(",");
    const fits = (name: string): boolean => wanted.some((one) => one === name || (one.endsWith("/*") && name.startsWith(one.slice(0, -1))));
    const { probe } = parameters;
    const columns = Object.entries(all.probes).filter(([name]) => fits(name));
    const rowsOf = (rows: (number | null)[][]): (number | null)[][] =>
      probe === undefined ? rows : rows.map((row) => (row.length ? [row[Number(probe)] ?? null] : []));
    return { ...all, probes: Object.fromEntries(columns.map(([name, rows]) => [name, rowsOf(rows)])) };
  }

  /** One probe at several steps, put together from the steps. */
  private film({ run, probe, steps, channels }: Parameters): Uint8Array {
    const frames: unknown[] = [];
    const chunks: Uint8Array[] = [];
    let end = 0;
    let shape: number[] = [];
    for (const step of String(steps).split(",")) {
      const body = this.found("step", { run: run!, step });
      const { header, chunks: all } = openEnvelope<StepAnswer>(body.slice().buffer);
      const takeFrom = (bytes: Uint8Array, place: [number, number]): [number, number] => {
        chunks.push(bytes.subarray(place[0], place[0] + place[1]));
        end += place[1];
        return [end - place[1], place[1]];
      };
      const take = (place: [number, number] | null | undefined): [number, number] | null => (place ? takeFrom(all, place) : null);
      const { session, encoding, scale, maps, predicted } = header;
      shape = header.map_shape;
      const frame = { step: Number(step), session, encoding, scale: scale[Number(probe)] ?? null, map: take(maps[Number(probe)]) };
      const also = predicted ? { predicted: { shape: predicted.shape, type: predicted.type, map: take(predicted.maps[Number(probe)]) } } : {};
      frames.push({ ...frame, ...also, ...(channels && header.channels ? this.byChannel(run!, step, Number(probe), takeFrom) : {}) });
    }
    return envelope({ probe: Number(probe), map_shape: shape, frames }, chunks);
  }

  /** The maps of a probe at a step by input channel. */
  private byChannel(run: string | number, step: string, probe: number, take: (bytes: Uint8Array, place: [number, number]) => [number, number]): object {
    const { header, chunks } = openEnvelope<ChannelsAnswer>(this.found("step_channels", { run, step }).slice().buffer);
    return { channel_maps: header.channel_maps[probe]!.map((place) => take(chunks, place)), channel_scale: header.channel_scale[probe] };
  }

  /** One channel's maps of a probe at several steps, put together from the steps: where its class has them. */
  private async channelFilm({ run, layer, class: of, channel, probe, steps }: Parameters): Promise<Uint8Array> {
    const scale: (number | null)[] = [];
    const parts: Uint8Array[] = [];
    let packed = { encoding: "sqrt8", shape: [] as number[] };
    for (const step of String(steps).split(",")) {
      const { header, chunks } = openEnvelope<MapsAnswer>(this.found("channel_maps", { run: run!, layer: layer!, class: of!, step }).slice().buffer);
      const flat = header.rows.flatMap((row) => row.scale.map((size, i) => ({ size, wanted: row.channel === Number(channel) && row.probes[i] === Number(probe) })));
      const stored = flat.filter(({ size }) => size !== null);
      const at = stored.findIndex(({ wanted }) => wanted);
      scale.push(at < 0 ? null : stored[at]!.size);
      if (at < 0 || header.codes === null) continue;
      const bytes = header.shape.reduce((a, b) => a * b, header.encoding === "sqrt8" ? 1 : 4);
      const raw = await inflate(chunks, header.codes, stored.length * bytes);
      parts.push(raw.slice(at * bytes, (at + 1) * bytes));
      packed = { encoding: header.encoding, shape: header.shape };
    }
    const codes = await deflate(parts);
    return envelope({ ...packed, codes: parts.length ? [0, codes.length] : null, scale }, [codes]);
  }
}

/** Has all answers come from the data in `text`: base64 of a gzip stream of an envelope. */
export async function embed(text: string): Promise<void> {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const { header, chunks } = openEnvelope<{ answers: Record<string, [number, number]> }>(await new Response(stream).arrayBuffer());
  const data = new Embedded(header.answers, chunks);
  answerFrom((route, parameters) => data.answer(route, parameters));
}
