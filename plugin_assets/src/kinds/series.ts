// A series: its curve, the relevance of each time behind it as a coloured band; channels one below the other.
import { number } from "../data/format";
import { FONT, isMarked, shareOf, tint, type Look, type Panel } from "./panel";
import type { Source } from "../data/source";

const LABEL = 13;
/** Height of all channels together, and the least of one. */
const HEIGHTS = { small: [40, 8], card: [120, 16], large: [260, 24] } as const;

export function seriesPanel(source: Source, width: number, look: Look): Panel {
  const shape = source.info.map_shape;
  const [times, channels] = [shape[0]!, shape[1] ?? 1];
  const [all, least] = HEIGHTS[look.size];
  const names = look.size === "small" ? null : source.info.feature_names;
  const band = Math.max(least, Math.round(all / channels));
  const row = band + (names ? LABEL : 2);
  const [from, to] = look.zoom ? [look.zoom.x - 0.5 / look.zoom.times, look.zoom.x + 0.5 / look.zoom.times] : [0, 1];
  const indexAt = (time: number, channel: number): number => source.start + time * channels + channel;
  const timeAt = (x: number): number => Math.min(times - 1, Math.max(0, Math.floor((from + (to - from) * (x / width)) * times)));
  const nameOf = (channel: number): string => source.info.feature_names?.[channel] ?? (channels > 1 ? `channel ${channel}` : "");

  const paint = (context: CanvasRenderingContext2D): void => {
    for (let channel = 0; channel < channels; channel++) {
      const top = channel * row + (names ? LABEL : 0);
      if (names) {
        context.font = `10.5px ${FONT}`;
        context.fillStyle = look.faint;
        context.textAlign = "left";
        context.fillText(nameOf(channel), 1, top - LABEL / 2, width);
      }
      if (look.map !== null) paintBand(context, channel, top);
      paintCurve(context, channel, top);
      paintMarks(context, channel, top);
    }
  };

  /** A line under the times that lie in a mask. */
  const paintMarks = (context: CanvasRenderingContext2D, channel: number, top: number): void => {
    context.fillStyle = look.ink;
    for (let time = 0; time < times; time++) {
      if (!isMarked(source, look, indexAt(time, channel))) continue;
      const [left, right] = [time, time + 1].map((at) => ((at / times - from) / (to - from)) * width) as [number, number];
      if (right > 0 && left < width) context.fillRect(left, top + band - 2, Math.max(1, right - left + 0.5), 2);
    }
  };

  /** A column of pixels that holds several times shows the strongest of them. */
  const paintBand = (context: CanvasRenderingContext2D, channel: number, top: number): void => {
    const columns = Math.min(Math.ceil(width), times);
    for (let column = 0; column < columns; column++) {
      const first = Math.floor((from + ((to - from) * column) / columns) * times);
      const end = Math.max(first + 1, Math.floor((from + ((to - from) * (column + 1)) / columns) * times));
      let strongest = 0;
      for (let time = first; time < Math.min(end, times); time++) {
        const share = shareOf(look, indexAt(time, channel));
        if (Number.isNaN(share) || Math.abs(share) > Math.abs(strongest)) strongest = share;
      }
      if (strongest === 0) continue;
      context.fillStyle = tint(look, strongest);
      const [left, right] = [Math.floor((width * column) / columns), Math.ceil((width * (column + 1)) / columns)];
      context.fillRect(left, top, Math.max(1, right - left), band);
    }
  };

  const paintCurve = (context: CanvasRenderingContext2D, channel: number, top: number): void => {
    const { values } = source;
    if (values === null) return;
    let [low, high] = [Infinity, -Infinity];
    for (let time = 0; time < times; time++) {
      const value = values[time * channels + channel]!;
      if (value < low) low = value;
      if (value > high) high = value;
    }
    const edge = band > 12 ? 3 : 1;
    const y = (value: number): number => top + band - edge - (high > low ? (value - low) / (high - low) : 0.5) * (band - 2 * edge);
    context.save();
    context.beginPath();
    context.rect(0, top, width, band);
    context.clip();
    context.beginPath();
    const first = Math.max(0, Math.floor(from * times) - 1);
    for (let time = first; time < Math.min(times, Math.ceil(to * times) + 1); time++) {
      const x = (((time + 0.5) / times - from) / (to - from)) * width;
      const at = y(values[time * channels + channel]!);
      if (time === first) context.moveTo(x, at);
      else context.lineTo(x, at);
    }
    context.strokeStyle = look.ink;
    context.lineWidth = look.size === "small" ? 0.8 : 1.2;
    context.lineJoin = "round";
    context.stroke();
    context.restore();
  };

  return {
    height: channels * row,
    paint,
    place: (x, y) => {
      const channel = Math.min(channels - 1, Math.floor(y / row));
      if (channel < 0 || x < 0 || x > width) return null;
      const time = timeAt(x);
      const value = source.values?.[time * channels + channel];
      const name = nameOf(channel);
      return { index: indexAt(time, channel), description: `time ${time}${name && `, ${name}`}${value === undefined ? "" : `: ${number(value)}`}` };
    },
    description: `series of ${times} times${channels > 1 ? ` and ${channels} channels` : ""}`,
  };
}
