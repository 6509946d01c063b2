// The grid as one picture: every probe that is shown, its input and the maps of all chosen runs, as they are drawn.
import { download } from "../ui/files";
import type { Model } from "../state/model";
import { sharedParts, telling } from "../state/names";

const CELL = 132;
const GAP = 10;
const LEFT = 150;
const TOP = 64;
/** Beyond this browsers make no picture. */
const MOST_PIXELS = 16_000;

/** Draws the cells of all cards of the page, those beyond the screen too, and hands the picture over; says what it holds. */
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

async function drawGrid(model: Model): Promise<string> {
  const cards = [...document.querySelectorAll<HTMLElement>("[data-testid=grid] article.probe")];
  const rows = cards.map((card) => ({ name: card.getAttribute("aria-label") ?? "", cells: [...card.querySelectorAll<HTMLElement>(".cell")] })).filter(({ cells }) => cells.some((cell) => cell.querySelector("canvas")));
  if (rows.length === 0) return "There are no maps on the page.";
  const first = rows[0]!.cells[0]!.getBoundingClientRect();
  const height = Math.max(8, Math.round((CELL * first.height) / Math.max(1, first.width)));
  const most = Math.max(1, Math.floor((MOST_PIXELS - TOP) / (height + GAP)));
  const taken = rows.slice(0, most);
  const columns = Math.max(...taken.map(({ cells }) => cells.length));
  const canvas = document.createElement("canvas");
  canvas.width = Math.min(MOST_PIXELS, LEFT + columns * (CELL + GAP));
  canvas.height = TOP + taken.length * (height + GAP);
  const context = canvas.getContext("2d");
  if (!context) return "This browser gives no 2D canvas.";
  const style = getComputedStyle(document.body);
  context.fillStyle = style.backgroundColor;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = style.color;
  context.font = "13px sans-serif";
  context.fillText(titleOf(model), GAP, 24, canvas.width - 2 * GAP);
  const runs = model.selected();
  const shared = sharedParts(runs.map(({ listing }) => listing.name));
  taken[0]!.cells.forEach((cell, column) => {
    const run = runs.find(({ listing }) => listing.run === cell.dataset.run);
    context.fillText(run ? telling(run.listing.name, shared) : "Input", LEFT + column * (CELL + GAP), 52, CELL);
  });
  context.imageSmoothingEnabled = false;
  taken.forEach(({ name, cells }, row) => {
    const top = TOP + row * (height + GAP);
    context.globalAlpha = 1;
    context.fillText(name, GAP, top + height / 2, LEFT - 2 * GAP);
    cells.forEach((cell, column) => {
      for (const drawn of cell.querySelectorAll("canvas")) {
        if (drawn.width === 0 || drawn.closest(".over")) continue;
        context.globalAlpha = Number(getComputedStyle(drawn).opacity);
        context.drawImage(drawn, LEFT + column * (CELL + GAP), top, CELL, height);
      }
    });
  });
  const file = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, "image/png"));
  if (!file) return "The picture is too large for this browser: choose fewer probes or runs.";
  download(file, `heatmaps-step-${model.currentStep() ?? 0}.png`);
  return taken.length < rows.length ? `The picture holds the first ${taken.length} of ${rows.length} probes.` : "";
}

function titleOf(model: Model): string {
  const composites = [...new Set(model.selected().map((run) => String(run.info?.meta.composite ?? "")))].filter(Boolean);
  return [`step ${model.currentStep() ?? "–"}`, ...composites].join(" · ");
}
