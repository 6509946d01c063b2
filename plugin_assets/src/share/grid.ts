// The grid as one picture: every probe that is shown, its input and the maps of all chosen runs, as they are drawn.
import { download } from "../ui/files";
import type { Model } from "../state/model";
import { sharedParts, distinctPart } from "../state/names";

const CELL = 132;
const GAP = 10;
const LEFT = 150;
const TOP = 64;
/** Beyond this browsers make no picture. */
const MOST_PIXELS = 16_000;

/** Draws the cells of all cards of the page, those beyond the screen too, and saves the picture; returns a message on what it holds. */
export async function saveGrid(model: Model): Promise<string> {
  model.drawAll(true);
  try {
    await new Promise<void>((resolve) => {
      const stop = model.subscribe(() => {
        if (!model.isComplete()) return;
        stop();
        window.setTimeout(resolve); // what listens behind this draws as well
      });
    });
    return await drawGrid(model);
  } finally {
    model.drawAll(false);
  }
}

/** What a cell of the page shows, in the picture's pixels. */
interface Cell {
  /** What stands above its column. */
  heading: string;
  canvases: HTMLCanvasElement[];
  width: number;
  height: number;
}

interface Row {
  name: string;
  cells: (Cell | null)[];
}

async function drawGrid(model: Model): Promise<string> {
  const cards = [...document.querySelectorAll<HTMLElement>("[data-testid=grid] article.probe")];
  const rows = cards.flatMap((card) => rowsOf(card, model)).filter(({ cells }) => cells.some((cell) => cell !== null && cell.canvases.length > 0));
  if (rows.length === 0) return "There are no maps on the page.";
  const heights = rows.map(({ cells }) => Math.max(8, ...cells.map((cell) => cell?.height ?? 0)));
  let taken = 0;
  let end = TOP;
  while (taken < rows.length && (taken === 0 || end + heights[taken]! + GAP <= MOST_PIXELS)) end += heights[taken++]! + GAP;
  const shown = rows.slice(0, taken);
  const columns = Array.from({ length: Math.max(...shown.map(({ cells }) => cells.length)) }, (_, column) => Math.max(...shown.map(({ cells }) => cells[column]?.width ?? 0)));
  const lefts = columns.map((_, column) => LEFT + columns.slice(0, column).reduce((sum, width) => sum + width + GAP, 0));
  const canvas = document.createElement("canvas");
  canvas.width = Math.min(MOST_PIXELS, lefts.at(-1)! + columns.at(-1)! + GAP);
  canvas.height = end;
  const context = canvas.getContext("2d");
  if (!context) return "This browser gives no 2D canvas.";
  const style = getComputedStyle(document.body);
  context.fillStyle = style.backgroundColor;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = style.color;
  context.font = "13px sans-serif";
  context.fillText(titleOf(model), GAP, 24, canvas.width - 2 * GAP);
  columns.forEach((width, column) => {
    const heading = shown.find(({ cells }) => cells[column])?.cells[column]?.heading ?? "";
    context.fillText(heading, lefts[column]!, 52, width);
  });
  context.imageSmoothingEnabled = false;
  let top = TOP;
  shown.forEach(({ name, cells }, row) => {
    context.globalAlpha = 1;
    context.fillText(name, GAP, top + heights[row]! / 2, LEFT - 2 * GAP);
    cells.forEach((cell, column) => {
      for (const drawn of cell?.canvases ?? []) {
        context.globalAlpha = Number(getComputedStyle(drawn).opacity);
        context.drawImage(drawn, lefts[column]!, top, cell!.width, cell!.height);
      }
    });
    top += heights[row]! + GAP;
  });
  const file = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, "image/png"));
  if (!file) return "The picture is too large for this browser: choose fewer probes or runs.";
  download(file, `heatmaps-step-${model.currentStep() ?? 0}.png`);
  return taken < rows.length ? `The picture holds the first ${taken} of ${rows.length} rows.` : "";
}

/** A card as rows: one, or of a film one for each run, with what is predicted in a row of its own below. */
function rowsOf(card: HTMLElement, model: Model): Row[] {
  const name = card.getAttribute("aria-label") ?? "";
  const runs = model.selected();
  const shared = sharedParts(runs.map(({ listing }) => listing.name));
  const nameOf = (run: string | undefined): string | null => {
    const found = runs.find(({ listing }) => listing.run === run);
    return found ? distinctPart(found.listing.name, shared) : null;
  };
  const cells = (within: HTMLElement, selector = ".cell"): HTMLElement[] => [...within.querySelectorAll<HTMLElement>(selector)];
  const strips = cells(card, ".strip");
  if (strips.length === 0) {
    return [{ name, cells: cells(card).map((cell) => cellOf(cell, headingOf(cell, nameOf))) }];
  }
  const lead = cells(card, "figure.input .cell").map((cell) => cellOf(cell, headingOf(cell, nameOf)));
  return strips.flatMap((strip, i) => {
    const run = strips.length > 1 ? `, ${nameOf(strip.dataset.run) ?? ""}` : "";
    const before = i === 0 ? lead : lead.map(() => null);
    const steps = cells(strip, ".cell[data-film-step]").map((cell) => cellOf(cell, `step ${cell.dataset.filmStep}`));
    const predicted = cells(strip, ".of-classes").map((cell) => cellOf(cell, ""));
    const row = { name: name + run, cells: [...before, ...steps] };
    return predicted.length === 0 ? [row] : [row, { name: `${name}${run}, predicted`, cells: [...lead.map(() => null), ...predicted] }];
  });
}

/** The run, or what is shown beside its heatmap. */
function headingOf(cell: HTMLElement, nameOf: (run: string | undefined) => string | null): string {
  const run = nameOf(cell.dataset.run ?? cell.querySelector<HTMLElement>("canvas[data-run]")?.dataset.run);
  const { title } = cell.dataset;
  return title === undefined ? (run ?? "Input") : run === null ? title : `${title}, ${run}`;
}

/** Pictures in one width, panels of text, bars and curves in their own: their letters are to be read. */
function cellOf(cell: HTMLElement, heading: string): Cell {
  const canvases = [...cell.querySelectorAll("canvas")].filter((drawn) => drawn.width > 0 && !drawn.closest(".over"));
  const panel = cell.classList.contains("of-kind") ? canvases[0] : undefined;
  if (panel) {
    const ratio = window.devicePixelRatio || 1;
    return { heading, canvases, width: Math.round(panel.width / ratio), height: Math.round(panel.height / ratio) };
  }
  const box = cell.getBoundingClientRect();
  return { heading, canvases, width: CELL, height: Math.max(8, Math.round((CELL * box.height) / Math.max(1, box.width))) };
}

function titleOf(model: Model): string {
  const composites = [...new Set(model.selected().map((run) => String(run.info?.meta.composite ?? "")))].filter(Boolean);
  return [`step ${model.currentStep() ?? "–"}`, ...composites].join(" · ");
}
