// Sizes of the cards in the grid.

/** Width of a map on the page in pixels, about: cards stretch or shrink a little to fill their row. */
const CELL = { s: 108, m: 140, l: 220 } as const;
/** Below this a caption would not fit. */
const LEAST_CELL = 102;
const MOST_STRETCH = 1.5;
const GAP = 12;
const CARD_EDGES = 2 * (12 + 1);

/** On very wide screens maps grow with the screen, or there would be a dozen small ones in a row. */
export const cellSize = (size: keyof typeof CELL, width: number): number => CELL[size] * (width > 1900 ? 1.5 : 1);

/** How many of a card's `maps` maps fit into one row of a card as wide as `width`: all, or rows alike of somewhat smaller ones. */
export function mapsInRow(width: number, maps: number, cell: number): number {
  const most = (size: number): number => Math.max(1, Math.floor((width - CARD_EDGES + GAP) / (size + GAP)));
  if (maps <= most(LEAST_CELL)) return maps;
  return Math.ceil(maps / Math.ceil(maps / most(Math.max(LEAST_CELL, 0.75 * cell))));
}

/** Cards side by side in `width`, and the width of one, so that its `maps` maps in a row come near to `cell` pixels. */
export function cardLayout(width: number, maps: number, cell: number): { columns: number; card: number } {
  const cardOf = (size: number): number => maps * (size + GAP) - GAP + CARD_EDGES;
  let columns = Math.max(1, Math.round((width + GAP) / (cardOf(cell) + GAP)));
  while (columns > 1 && (width + GAP) / columns - GAP < cardOf(LEAST_CELL)) columns--;
  const card = Math.min((width + GAP) / columns - GAP, cardOf(MOST_STRETCH * cell));
  return { columns, card: Math.floor(card) };
}

const HEADER = 28;
const CAPTION = 26 + 4 * 17;
const PER_MASK = 22;

/** Height of a card of so many `rows` of `maps` maps, about, for those out of sight: the scroll bar should not jump when they come into view. */
export const cardHeight = (card: number, maps: number, rows: number, aspect: number, masks: number): number =>
  Math.round(CARD_EDGES - 4 + HEADER + rows * (((card - CARD_EDGES + GAP) / maps - GAP) * aspect + CAPTION + PER_MASK * masks));
