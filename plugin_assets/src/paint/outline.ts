// The outline of a mask as an SVG path along pixel edges.

/** Path in pixel units around the set pixels of a mask; "" where it is empty or not there (yet). Edges in a row are one line. */
export function outlinePath(mask: Uint8Array | undefined, height: number, width: number): string {
  if (!mask) return "";
  const inside = (row: number, column: number): boolean =>
    row >= 0 && row < height && column >= 0 && column < width && mask[row * width + column] !== 0;
  const parts: string[] = [];
  for (let row = 0; row <= height; row++) {
    for (let column = 0, start = -1; column <= width; column++) {
      const edge = column < width && inside(row, column) !== inside(row - 1, column);
      if (edge && start < 0) start = column;
      if (!edge && start >= 0) {
        parts.push(`M${start} ${row}H${column}`);
        start = -1;
      }
    }
  }
  for (let column = 0; column <= width; column++) {
    for (let row = 0, start = -1; row <= height; row++) {
      const edge = row < height && inside(row, column) !== inside(row, column - 1);
      if (edge && start < 0) start = row;
      if (!edge && start >= 0) {
        parts.push(`M${column} ${start}V${row}`);
        start = -1;
      }
    }
  }
  return parts.join("");
}
