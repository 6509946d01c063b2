// A row of a table: a bar for each feature, from the middle to the right where its relevance is positive.
import { valueOf } from "../data/difference";
import { number } from "../data/format";
import { fitted, FONT, isMarked, leading, shareOf, textWidth, tint, type Look, type Panel } from "./panel";
import type { Source } from "../data/source";

const ROWS = { small: [4, 14], card: [15, 15], large: [18, Infinity] } as const;
const FONTS = { small: `7px ${FONT}`, card: `11px ${FONT}`, large: `12px ${FONT}` } as const;

export const nameOf = ({ info }: Source, feature: number): string => info.feature_names?.[feature] ?? `feature ${feature}`;

export function tablePanel(source: Source, width: number, look: Look): Panel {
  const [rowHeight, most] = ROWS[look.size];
  const font = FONTS[look.size];
  const count = source.info.map_shape[0]!;
  const rows = Math.min(most, count);
  const ordered = look.map !== null && (look.order === "relevance" || count > rows);
  const first = ordered ? leading(look, source.start, count).slice(0, rows) : Array.from({ length: rows }, (_, feature) => feature);
  // In the given order also what is chosen by relevance, where not all have room.
  const shown = look.order === "given" ? first.sort((a, b) => a - b) : first;
  const rest = count - rows;
  const bare = look.size === "small";
  const nameWide = bare ? 0 : Math.min(0.42 * width, Math.max(...shown.map((feature) => 14 + textWidth(nameOf(source, feature).slice(0, 60), font))));
  const valueWide = bare || source.values === null ? 0 : Math.min(52, 0.2 * width);
  const [left, right] = [nameWide + valueWide, width];
  const middle = (left + right) / 2;
  const relevance = (feature: number): number => (look.map === null ? NaN : valueOf(look.map, source.start + feature));
  return {
    height: rows * rowHeight + (rest > 0 && !bare ? rowHeight : 0),
    paint: (context) => {
      context.font = font;
      shown.forEach((feature, place) => {
        const top = place * rowHeight;
        const share = shareOf(look, source.start + feature);
        if (!bare) {
          context.fillStyle = look.ink;
          if (isMarked(source, look, source.start + feature)) context.fillRect(0, top + 2, 2, rowHeight - 4);
          context.textAlign = "left";
          context.fillText(fitted(nameOf(source, feature), nameWide - 8, font), 4, top + rowHeight / 2);
          const value = source.values?.[feature];
          if (value !== undefined) {
            context.fillStyle = look.faint;
            context.textAlign = "right";
            context.fillText(number(value), left - 5, top + rowHeight / 2, valueWide);
          }
        }
        if (share !== 0 && look.map !== null) {
          const wide = Number.isFinite(share) ? Math.min(1, Math.abs(share)) * (right - middle - 1) : right - middle - 1;
          context.fillStyle = tint({ ...look, gamma: 0 }, share);
          context.fillRect(share < 0 ? middle - wide : middle, top + (bare ? 0.5 : 2), Math.max(0.5, wide), rowHeight - (bare ? 1 : 4));
        }
      });
      if (look.map !== null) {
        context.fillStyle = look.faint;
        context.fillRect(Math.round(middle), 0, 1, rows * rowHeight);
      }
      if (rest > 0 && !bare) {
        context.fillStyle = look.faint;
        context.textAlign = "left";
        context.fillText(`and ${rest} more: open the probe`, 2, rows * rowHeight + rowHeight / 2, width);
      }
    },
    place: (_, y) => {
      const feature = shown[Math.floor(y / rowHeight)];
      if (feature === undefined) return null;
      const value = source.values?.[feature];
      return { index: source.start + feature, description: `${nameOf(source, feature)}${value === undefined ? "" : ` = ${number(value)}`}` };
    },
    description: `row of ${count} features${look.map === null ? "" : `, most relevant: ${leading(look, source.start, count).slice(0, 3).map((f) => `${nameOf(source, f)} ${number(relevance(f))}`).join(", ")}`}`,
  };
}
