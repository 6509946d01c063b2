// One picture of a probe at a step for PNG and GIF: its input and each run's heatmap side by side, with captions.
import { paintPicture } from "../paint/colormap";
import { className } from "../data/format";
import { allFinite, planeOf, type ClassMap, type HeatMap, type Picture } from "../data/decode";
import type { RunState } from "../data/run";
import type { Look, Panel } from "../kinds/panel";
import { probePanel } from "../kinds/drawing";
import { groundOf, type Source } from "../data/source";
import { classCss, classesOn, sliceOf } from "../paint/classes";
import type { ProbeNames } from "../data/types";
import type { Model } from "../state/model";
import { put } from "../ui/canvases";
import { lookOf, paintClassesOver, paintMap } from "./paint";

const MARGIN = 12;
const HEAD = 24;
const FOOT = 22;
const KEY = 18;
const FONT = "Roboto, 'Segoe UI', Arial, sans-serif";

export interface SheetCell {
  run: RunState;
  map: HeatMap | null;
  /** The predicted class of each place, of an output of maps. */
  predicted: ClassMap | null;
  step: number | null;
}

/** Draws sheets of one probe, all of one size, black on white whatever the theme. */
export class Sheet {
  readonly canvas = document.createElement("canvas");
  private readonly context: CanvasRenderingContext2D;
  private side: { height: number; width: number };
  private readonly scratch = document.createElement("canvas");

  constructor(
    private readonly model: Model,
    private readonly probes: ProbeNames,
    private readonly index: number,
    private readonly picture: Picture | null,
    private readonly runs: readonly RunState[],
    least: number,
    /** The inputs where the probe is more than a picture: each run's cell then shows them with their relevance. */
    private readonly sources: readonly Source[] | null,
    private readonly labels: ClassMap | null,
    /** Whether the runs' outputs are maps of classes: each heatmap has what is predicted beside it. */
    private readonly predicts: boolean,
  ) {
    const { height, width } = sources ? { height: 1, width: 1 } : planeOf(probes.map_shape);
    // Whole multiples of the map's pixels where it is small: its pixels stay as sharp and as equal as they are.
    const factor = Math.max(1, Math.ceil(least / Math.max(height, width)));
    this.side = { height: Math.max(24, height * factor), width: Math.max(96, width * factor) };
    if (sources) {
      const wide = 2 * least;
      // One height for all steps: what is drawn of a text or a table without relevance is the most there is.
      this.side = { width: wide, height: probePanel(sources, wide, this.look(null, null)).height };
    }
    const columns = runs.length * (predicts ? 2 : 1) + (picture && !sources ? 1 : 0) + (labels ? 1 : 0);
    this.canvas.width = MARGIN + columns * (this.side.width + MARGIN);
    this.canvas.height = MARGIN + HEAD + this.side.height + FOOT + (labels || predicts ? KEY : 0);
    const context = this.canvas.getContext("2d", { willReadFrequently: true });
    if (!context) throw new Error("this browser gives no 2D canvas");
    this.context = context;
  }

  draw(step: number, cells: readonly SheetCell[]): void {
    const { context, canvas } = this;
    context.fillStyle = "#ffffff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.textBaseline = "middle";
    context.imageSmoothingEnabled = false;
    this.text(`step ${step}`, canvas.width - MARGIN, MARGIN + 6, "right", `600 13px ${FONT}`, canvas.width / 2);
    this.text(this.probes.names[this.index] ?? "", MARGIN, MARGIN + 6, "left", `600 13px ${FONT}`, canvas.width - 3 * MARGIN - 90);
    let left = MARGIN;
    if (this.picture && !this.sources) {
      this.cell(left, paintPicture(this.picture, false), this.picture.height, this.picture.width, "Input");
      left += this.side.width + MARGIN;
    }
    if (this.labels) {
      this.classes(left, this.labels, "Labels");
      left += this.side.width + MARGIN;
    }
    for (const { run, map, predicted, step: own } of cells) {
      const words = map && !this.sources && paintMap(this.model, run, this.index, map);
      const title = this.runs.length > 1 ? run.listing.name : "Relevance";
      const aside = own !== null && own !== step ? `${title} (step ${own})` : title;
      if (this.sources && map) this.panel(left, probePanel(this.sources, this.side.width, this.look(run, map)));
      const caption = !map ? `${title}: not stored` : allFinite(map) ? aside : `not finite: ${aside}`;
      if (this.sources && map) this.frame(left, caption);
      else this.cell(left, words, map?.height ?? 1, map?.width ?? 1, caption);
      left += this.side.width + MARGIN;
      if (!this.predicts) continue;
      this.classes(left, predicted, this.runs.length > 1 ? `Predicted, ${aside}` : "Predicted");
      left += this.side.width + MARGIN;
    }
  }

  pixels(): Uint32Array {
    const { data } = this.context.getImageData(0, 0, this.canvas.width, this.canvas.height);
    return new Uint32Array(data.buffer);
  }

  private look(run: RunState | null, map: HeatMap | null): Look {
    const of = run ?? this.runs[0]!;
    return lookOf(this.model, of, this.index, map, "large", "paper");
  }

  private panel(left: number, panel: Panel): void {
    const { context, side } = this;
    context.save();
    context.beginPath();
    context.rect(left, MARGIN + HEAD, side.width, side.height);
    context.clip();
    context.translate(left, MARGIN + HEAD);
    panel.paint(context);
    context.restore();
    context.textBaseline = "middle";
  }

  private cell(left: number, words: Uint32Array | null | false, height: number, width: number, caption: string): void {
    const top = MARGIN + HEAD;
    if (words) {
      put(this.scratch, words, height, width);
      this.context.drawImage(this.scratch, left, top, this.side.width, this.side.height);
    } else {
      this.context.fillStyle = "#eceef1";
      this.context.fillRect(left, top, this.side.width, this.side.height);
    }
    this.frame(left, caption);
  }

  /** A map of classes over the input, with the names of the classes on it below; a volume's slice is the one shown. */
  private classes(left: number, map: ClassMap | null, caption: string): void {
    const { context, side } = this;
    const top = MARGIN + HEAD;
    context.fillStyle = "#eceef1";
    context.fillRect(left, top, side.width, side.height);
    if (map) {
      paintClassesOver(this.scratch, map, groundOf(this.picture, this.sources), this.model.view.slice);
      const factor = Math.min(side.width / this.scratch.width, side.height / this.scratch.height);
      const [width, height] = this.sources && this.scratch.height > 1 ? [factor * this.scratch.width, factor * this.scratch.height] : [side.width, side.height];
      context.drawImage(this.scratch, left, top, width, height);
      this.key(left, classesOn(sliceOf(map, map.depth, this.model.view.slice)));
    }
    this.frame(left, map ? caption : `${caption}: not stored`);
  }

  /** A square of its colour and its name for each class, as many as have room. */
  private key(left: number, classes: readonly number[]): void {
    const { context, side } = this;
    const middle = MARGIN + HEAD + side.height + FOOT + KEY / 2 - 3;
    let x = left;
    context.font = `11px ${FONT}`;
    for (const one of classes) {
      const name = className(this.probes, one);
      const wide = 14 + context.measureText(name).width;
      if (x + wide > left + side.width) {
        this.text("…", x, middle, "left", `11px ${FONT}`, 14);
        break;
      }
      context.fillStyle = classCss(one);
      context.fillRect(x, middle - 5, 9, 9);
      this.text(name, x + 12, middle, "left", `11px ${FONT}`, side.width);
      x += wide + 8;
    }
  }

  private frame(left: number, caption: string): void {
    const top = MARGIN + HEAD;
    this.context.lineWidth = 1;
    this.context.strokeStyle = "#9aa2ab";
    this.context.strokeRect(left - 0.5, top - 0.5, this.side.width + 1, this.side.height + 1);
    this.text(caption, left, top + this.side.height + FOOT / 2 + 1, "left", `12px ${FONT}`, this.side.width);
  }

  /** A line of text, cut with dots where it is wider than `room`. */
  private text(text: string, x: number, y: number, align: CanvasTextAlign, font: string, room: number): void {
    const { context } = this;
    context.font = font;
    context.fillStyle = "#1d2126";
    context.textAlign = align;
    let shown = text.slice(0, 200);
    while (shown.length > 1 && context.measureText(shown).width > room) shown = `${shown.slice(0, -2)}…`;
    context.fillText(shown, x, y);
  }
}
