// One probe at many steps, in the answers of the route `film`.
import { request } from "../data/api";
import { decodeClasses, decodeMap, openEnvelope, planeOf, type ClassMap, type HeatMap, type Plane } from "../data/decode";
import { sizeOf } from "../data/source";

/** A probe at one step; `map` is null where maps were not stored, `channels` empty where those were not. */
export interface FilmFrame {
  step: number;
  map: HeatMap | null;
  channels: HeatMap[];
  /** Of an output of maps the predicted class of each place. */
  predicted: ClassMap | null;
}

interface FilmHeader {
  map_shape: number[];
  frames: {
    step: number;
    encoding: string;
    scale: number | null;
    map: [number, number] | null;
    channel_maps?: [number, number][];
    channel_scale?: (number | null)[];
    predicted?: { shape: number[]; type: string; map: [number, number] | null };
  }[];
}

/** Decodes an answer; `flat` leaves the pixels of volumes in the order of the array instead of side by side. */
export async function decodeFilm(buffer: ArrayBuffer, flat = false): Promise<FilmFrame[]> {
  const { header, chunks } = openEnvelope<FilmHeader>(buffer);
  const shape = header.map_shape;
  const planeFor = (of: readonly number[]): Plane => (flat ? { height: 1, width: sizeOf(of), depth: 1, columns: 1 } : planeOf(of));
  const plane = planeFor(shape);
  const decode = (range: [number, number], encoding: string, scale: number | null | undefined): Promise<HeatMap> =>
    decodeMap(chunks, range, encoding, scale, shape, plane);
  return Promise.all(
    header.frames.map(async ({ step, encoding, scale, map, channel_maps, channel_scale, predicted }) => ({
      step,
      map: map === null ? null : await decode(map, encoding, scale),
      channels: await Promise.all((channel_maps ?? []).map((range, c) => decode(range, encoding, channel_scale?.[c]))),
      predicted: predicted?.map ? await decodeClasses(chunks, predicted.map, predicted.type, predicted.shape, planeFor(predicted.shape)) : null,
    })),
  );
}

export interface FilmRequest {
  run: string;
  /** Latest session of the run: the answer is kept under its name. */
  session: string;
  probe: number;
  steps: readonly number[];
  channels?: boolean;
  flat?: boolean;
}

export async function fetchFilm({ run, session, probe, steps, channels, flat }: FilmRequest): Promise<FilmFrame[]> {
  const parameters: Record<string, string | number> = { run, session, probe, steps: steps.join(",") };
  if (channels) parameters.channels = 1;
  return decodeFilm(await (await request("film", parameters)).arrayBuffer(), flat);
}

const bytesOfMap = (map: HeatMap | null): number => map?.data.byteLength ?? 0;

export const filmBytes = (frames: readonly FilmFrame[]): number =>
  frames.reduce((sum, frame) => sum + 200 + (frame.predicted?.data.byteLength ?? 0) + [frame.map, ...frame.channels].reduce((s, map) => s + bytesOfMap(map), 0), 0);
