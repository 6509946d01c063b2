// What the large view of a probe shows, as files: a PNG of this step, a GIF of all steps, an NPZ of the arrays.
import { spread } from "../data/ticks";
import { mapValues, planeOf, takeApart, type ProbePictures } from "../data/decode";
import type { RunState } from "../data/run";
import { labelMapOf } from "../data/labels";
import { isPicture, sourcesOf } from "../data/source";
import type { Model } from "../state/model";
import { indexAtOrBefore } from "../data/steps";
import type { ProbeNames } from "../data/types";
import { column, type ProbeData } from "./probedata";
import { fetchFilm, type FilmFrame } from "./film";
import { GifWriter } from "./gif";
import { Palette } from "./palette";
import { Sheet, type SheetCell } from "./sheet";
import { bytesOf, npz, textArray, type ArrayFile } from "./zip";

const PNG_SIDE = 320;
const GIF_SIDE = 192;
const MOST_FRAMES = 200;
const MOST_ARRAY_BYTES = 2 ** 30;
const AT_ONCE = 64;

export interface ExportOf {
  model: Model;
  data: ProbeData;
  runs: readonly RunState[];
  probes: ProbeNames;
  index: number;
  pictures: ProbePictures | null;
}

export interface Exported {
  file: Blob;
  /** A remark on anything that is not as one would expect. */
  note: string | null;
}

/** Called now and then with the share that is done; false ends the work. */
export type Progress = (share: number) => boolean;

const stopped = (): Error => new Error("stopped");
const breathe = (): Promise<void> => new Promise((resume) => window.setTimeout(resume, 0));

const sheetOf = ({ model, runs, probes, index, pictures }: ExportOf, least: number): Sheet => {
  const sources = isPicture(probes) ? null : sourcesOf(probes, pictures, index);
  const predicts = runs.some((run) => run.frame?.predicted);
  return new Sheet(model, probes, index, pictures?.pictures[index] ?? null, runs, least, sources, labelMapOf(probes, pictures, index), predicts);
};

/** Films of one probe at steps of a run, asked for in pieces. */
async function framesOf(
  run: RunState,
  index: number,
  steps: readonly number[],
  flat: boolean,
  progress: Progress,
): Promise<FilmFrame[]> {
  const out: FilmFrame[] = [];
  const session = run.info?.session ?? "";
  for (let at = 0; at < steps.length; at += AT_ONCE) {
    if (!progress(at / steps.length)) throw stopped();
    const piece = steps.slice(at, at + AT_ONCE);
    out.push(...(await fetchFilm({ run: run.listing.run, session, probe: index, steps: piece, flat })));
  }
  return out;
}

/** The step that each run shows at the slider's step. */
const ownStep = (run: RunState, step: number): number | null => run.steps[indexAtOrBefore(run.steps, step)] ?? null;

export async function exportPng(of: ExportOf): Promise<Exported> {
  const step = of.model.currentStep();
  if (step === null) throw new Error("Nothing is logged yet.");
  const sheet = sheetOf(of, PNG_SIDE);
  const cells = of.runs.map((run): SheetCell => {
    const own = ownStep(run, step);
    const frame = own === null ? undefined : of.data.frame(run, own);
    const shown = run.frame?.header.step === own ? run.frame : null;
    const film = typeof frame === "object" ? frame : null;
    return { run, step: own, map: shown?.maps[of.index] ?? film?.map ?? null, predicted: shown?.predicted?.[of.index] ?? film?.predicted ?? null };
  });
  sheet.draw(step, cells);
  const file = await new Promise<Blob | null>((done) => sheet.canvas.toBlob(done, "image/png"));
  if (!file) throw new Error("This browser could not make a PNG of that size.");
  return { file, note: null };
}

export async function exportGif(of: ExportOf, milliseconds: number, progress: Progress): Promise<Exported> {
  const all = of.model.steps();
  const steps = spread(all.length, MOST_FRAMES).map((i) => all[i]!);
  if (steps.length === 0) throw new Error("Nothing is logged yet.");
  const films = new Map<RunState, Map<number, FilmFrame>>();
  for (const [i, run] of of.runs.entries()) {
    const own = [...new Set(steps.map((step) => ownStep(run, step)).filter((step) => step !== null))];
    const frames = await framesOf(run, of.index, own, false, (share) => progress((0.5 * (i + share)) / of.runs.length));
    films.set(run, new Map(frames.map((frame) => [frame.step, frame])));
  }
  const sheet = sheetOf(of, GIF_SIDE);
  const draw = (step: number): Uint32Array => {
    const cells = of.runs.map((run): SheetCell => {
      const own = ownStep(run, step);
      const frame = own === null ? undefined : films.get(run)?.get(own);
      return { run, step: own, map: frame?.map ?? null, predicted: frame?.predicted ?? null };
    });
    sheet.draw(step, cells);
    return sheet.pixels();
  };
  const palette = new Palette();
  for (const i of spread(steps.length, 24)) palette.count(draw(steps[i]!));
  palette.choose();
  const writer = new GifWriter(sheet.canvas.width, sheet.canvas.height, palette.colours);
  for (const [i, step] of steps.entries()) {
    if (!progress(0.5 + (0.5 * i) / steps.length)) throw stopped();
    // The end stays a while, so that one sees where it begins again.
    writer.frame(palette.indices(draw(step)), i === steps.length - 1 ? Math.max(1200, milliseconds) : milliseconds);
    await breathe();
  }
  const file = new Blob([writer.finish() as BlobPart], { type: "image/gif" });
  const note = steps.length < all.length ? `${steps.length} of ${all.length} steps, evenly spread` : null;
  return { file, note };
}

export async function exportNpz(of: ExportOf, progress: Progress): Promise<Exported> {
  const { runs, probes, index, pictures, data } = of;
  const files: ArrayFile[] = [];
  const pixels = probes.map_shape.reduce((a, b) => a * b, 1);
  const stored = runs.map((run) => (run.info?.steps ?? []).filter((step) => step.maps).map((step) => step.step));
  if (4 * pixels * stored.flat().length > MOST_ARRAY_BYTES) {
    throw new Error("More than 1 GB of heatmaps: `lrp-monitor export` writes them without a browser.");
  }
  for (const [i, run] of runs.entries()) {
    const prefix = runs.length > 1 ? `${i}/` : "";
    const frames = await framesOf(run, index, stored[i]!, true, (share) => progress((i + share) / runs.length));
    const maps = frames.filter((frame) => frame.map !== null);
    files.push({ name: `${prefix}relevance`, dtype: "<f4", shape: [maps.length, ...probes.map_shape], pieces: maps.map((frame) => bytesOf(mapValues(frame.map!))) });
    files.push(whole(`${prefix}steps`, maps.map((frame) => frame.step)));
    const classes = frames.flatMap(({ step, predicted }) => (predicted ? [{ step, predicted }] : []));
    if (classes.length > 0) {
      const pieces = classes.map(({ predicted }) => bytesOf(predicted.data));
      files.push({ name: `${prefix}predicted`, dtype: "<i4", shape: [classes.length, ...classes[0]!.predicted.shape], pieces });
      files.push(whole(`${prefix}predicted_steps`, classes.map(({ step }) => step)));
    }
    const timeline = data.timeline(run);
    if (timeline) {
      files.push(whole(`${prefix}logged_steps`, timeline.steps));
      for (const name of Object.keys(timeline.probes).sort()) {
        const values = Float64Array.from(column(timeline, name), (value) => value ?? NaN);
        files.push({ name: prefix + name, dtype: "<f8", shape: [values.length], pieces: [bytesOf(values)] });
      }
    }
  }
  files.push(textArray("runs", runs.map((run) => run.listing.name)), textArray("probe", [probes.names[index] ?? ""]));
  const picture = pictures?.pictures[index];
  if (picture) {
    const shape = [picture.height, picture.width, picture.channels];
    files.push({ name: "input", dtype: "|u1", shape, pieces: [picture.data] });
  }
  if (pictures) {
    for (const { info, values, tokens } of isPicture(probes) ? [] : sourcesOf(probes, pictures, index)) {
      if (values) files.push({ name: `values/${info.name}`, dtype: "<f4", shape: info.map_shape, pieces: [bytesOf(values)] });
      if (tokens) files.push(textArray(`tokens/${info.name}`, [...tokens]));
    }
  }
  const labels = pictures?.labels?.[index];
  if (labels) files.push({ name: "labels", dtype: "<i4", shape: labels.shape, pieces: [bytesOf(takeApart(labels.data, labels))] });
  if (pictures && picture && pictures.masks.size > 0) {
    const plane = planeOf(probes.map_shape);
    const masks = [...pictures.masks];
    files.push(textArray("mask_names", masks.map(([name]) => name)));
    files.push({ name: "masks", dtype: "|b1", shape: [masks.length, ...probes.map_shape], pieces: masks.map(([, m]) => takeApart(m[index]!, plane)) });
  }
  const pieces = npz(files) as BlobPart[];
  return { file: new Blob(pieces, { type: "application/zip" }), note: null };
}

function whole(name: string, values: readonly number[]): ArrayFile {
  return { name, dtype: "<i8", shape: [values.length], pieces: [bytesOf(BigInt64Array.from(values, BigInt))] };
}

/** A file name of a probe's name: letters, digits and a few signs, whatever the name holds. */
export const fileName = (name: string, ending: string): string =>
  `${name.normalize("NFKD").replace(/[^A-Za-z0-9._-]+/g, "_").replace(/^[._]+/, "").slice(0, 60) || "probe"}.${ending}`;
