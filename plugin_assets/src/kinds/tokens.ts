// A text: its tokens as words, coloured by their relevance and wrapped. Where there is little room a long text folds to
// what is around its most relevant tokens.
import { FONT, inkOn, isMarked, leading, shareOf, textWidth, tint, type Look, type Panel } from "./panel";
import type { Source } from "../data/source";

const FONTS = { small: `8px ${FONT}`, card: `12.5px ${FONT}`, large: `13px ${FONT}` } as const;
/** Of long texts that are shown whole. */
const DENSE = { from: 300, font: `12px ${FONT}`, line: 17 };
const LINES = { small: [9, 6], card: [19, 9], large: [21, Infinity] } as const;
const PAD = 2.5;
const GAP = 2;
const FOLD = "⋯";
/** Tokens shown on either side of one that matters. */
const AROUND = 4;

interface Word {
  /** Place of the token, -1 for what is left out. */
  token: number;
  text: string;
  x: number;
  line: number;
  width: number;
}

const textOf = ({ tokens, values }: Source, token: number): string => tokens?.[token] ?? (values ? String(values[token]) : `${token}`);

/** Tokens that have a text, the padding at the end left out. */
function lengthOf(source: Source): number {
  let count = source.info.map_shape[0]!;
  while (source.tokens && count > 1 && source.tokens[count - 1] === "") count--;
  return count;
}

/** Puts words into lines; tokens that follow one that is not shown come after a sign. */
function wrap(source: Source, shown: readonly number[], width: number, font: string): Word[] {
  const words: Word[] = [];
  let [x, line, before] = [0, 0, -1];
  const add = (token: number, text: string): void => {
    const wide = Math.min(width, textWidth(text, font) + 2 * PAD);
    if (x > 0 && x + wide > width) [x, line] = [0, line + 1];
    words.push({ token, text, x, line, width: wide });
    x += wide + GAP;
  };
  for (const token of shown) {
    if (token !== before + 1) add(-1, FOLD);
    add(token, textOf(source, token) || "·");
    before = token;
  }
  if (before < lengthOf(source) - 1) add(-1, FOLD);
  return words;
}

/** As many tokens around the most relevant ones as go into so many lines; all where they do. */
function fold(source: Source, width: number, lines: number, font: string, look: Look): Word[] {
  const count = lengthOf(source);
  const all = Array.from({ length: count }, (_, token) => token);
  const whole = wrap(source, lines === Infinity ? all : all.slice(0, 60 * lines), width, font);
  const fits = (words: readonly Word[]): boolean => (words.at(-1)?.line ?? 0) < lines;
  if (fits(whole) && (lines === Infinity || count <= 60 * lines)) return whole;
  if (look.map === null) return whole.filter(({ line }) => line < lines);
  const shown = new Set<number>();
  let best: Word[] = [];
  for (const token of leading(look, source.start, count)) {
    const fresh: number[] = [];
    for (let near = Math.max(0, token - AROUND); near <= Math.min(count - 1, token + AROUND); near++) if (!shown.has(near)) fresh.push(near);
    fresh.forEach((near) => shown.add(near));
    const words = wrap(source, [...shown].sort((a, b) => a - b), width, font);
    if (!fits(words)) break;
    best = words;
  }
  return best.length > 0 ? best : wrap(source, leading(look, source.start, count).slice(0, 1), width, font);
}

export function tokensPanel(source: Source, width: number, look: Look): Panel {
  const [roomy, lines] = LINES[look.size];
  const dense = lines === Infinity && lengthOf(source) >= DENSE.from;
  const [font, lineHeight] = dense ? [DENSE.font, DENSE.line] : [FONTS[look.size], roomy];
  const words = fold(source, width, lines, font, look);
  // The same height at every step: a card must not jump with what is folded away.
  const used = (words.at(-1)?.line ?? 0) + 1;
  const folds = words.some(({ token }) => token < 0);
  const height = (folds && lines !== Infinity ? lines : used) * lineHeight;
  const best = look.map === null ? [] : leading(look, source.start, lengthOf(source)).slice(0, 3);
  return {
    height,
    paint: (context) => {
      context.font = font;
      context.textAlign = "left";
      for (const { token, text, x, line, width: wide } of words) {
        const top = line * lineHeight;
        if (token >= 0 && look.map !== null) {
          const share = shareOf(look, source.start + token);
          if (share !== 0) {
            context.fillStyle = tint(look, share);
            context.fillRect(x, top + 1, wide, lineHeight - 2);
          }
        }
        context.fillStyle = token < 0 ? look.faint : look.ink;
        if (token >= 0 && isMarked(source, look, source.start + token)) context.fillRect(x + 1, top + lineHeight - 2, wide - 2, 1.5);
        if (token >= 0 && look.map !== null) context.fillStyle = inkOn(look, shareOf(look, source.start + token));
        context.fillText(text, x + PAD, top + lineHeight / 2 + 0.5, wide - PAD);
      }
    },
    place: (x, y) => {
      const line = Math.floor(y / lineHeight);
      const found = words.find((word) => word.line === line && x >= word.x && x < word.x + word.width + GAP);
      if (!found || found.token < 0) return null;
      return { index: source.start + found.token, description: `token ${found.token}: ${textOf(source, found.token) || "(empty)"}` };
    },
    description: `text of ${lengthOf(source)} tokens${best.length ? `, most relevant: ${best.map((token) => textOf(source, token)).join(", ")}` : ""}`,
  };
}
