// What happened in a run: alerts, values that are not finite, predictions that flipped, restarts, notes.
import { spansOf, spanText } from "../data/finite";
import { className, percent, plural } from "../data/format";
import { answerText } from "../data/labels";
import type { ProbeNames, RunInfo, Timeline, WatchedLayer } from "../data/types";
import { alertLimits } from "../state/selection";

export type EventKind = "alert" | "finite" | "flip" | "emerged" | "restart" | "note" | "mark";

export const KINDS: Record<EventKind, string> = {
  alert: "Alerts",
  finite: "Not finite",
  flip: "Flips of predictions",
  emerged: "Features that emerged",
  restart: "Restarts, ends",
  note: "Notes of the log",
  mark: "Notes of people",
};

export interface RunEvent {
  kind: EventKind;
  step: number;
  /** When it was logged, seconds since 1970; null where that is not known. */
  time: number | null;
  text: string;
}

const NAMED = 3;

/** Events of a run, by step; `timeline` with the scalars and the column "prediction". */
export function eventsOf(info: RunInfo, timeline: Timeline, ended: boolean, layers: readonly Pick<WatchedLayer, "layer" | "emerged">[] = []): RunEvent[] {
  const times = new Map(info.steps.map(({ step, wall_time }) => [step, wall_time]));
  const out: RunEvent[] = [];
  const add = (kind: EventKind, step: number, text: string): void => {
    out.push({ kind, step, time: times.get(step) ?? null, text });
  };
  for (const [mask, limit] of alertLimits(info.meta)) alerts(timeline, mask, limit, add);
  for (const span of spansOf(info.steps)) add("finite", span.first, spanText(span));
  flips(info.probes, timeline, add);
  for (const { layer, emerged = [] } of layers) {
    for (const one of emerged) {
      const of = one.class < 0 ? "" : ` for ${className(info.probes, one.class)}`;
      add("emerged", one.step, `channel ${one.channel} of ${layer} emerged${of}: ${percent(one.share)} of the relevance at the last step`);
    }
  }
  info.steps.forEach(({ step, session, notes }, i) => {
    if (i > 0 && session !== info.steps[i - 1]!.session) add("restart", step, "logged by a later session from here on");
    for (const note of notes) add("note", step, note);
  });
  if (info.replaced) add("restart", info.steps[0]?.step ?? 0, `${plural(info.replaced, "step")} of earlier sessions no longer shown`);
  const last = info.steps[info.steps.length - 1];
  if (ended && last) add("restart", last.step, "the fit ended");
  return out.sort((a, b) => a.step - b.step);
}

type Add = (kind: EventKind, step: number, text: string) => void;

/** The steps at which a mask's share goes above its limit, and below again. */
function alerts({ steps, scalars }: Timeline, mask: string, limit: number, add: Add): void {
  let above = false;
  (scalars[`lrp/mask_mass/${mask}`] ?? []).forEach((value, i) => {
    if (typeof value !== "number") return;
    if (value > limit !== above) {
      above = value > limit;
      add("alert", steps[i]!, `relevance in ${mask} ${above ? "above" : "no longer above"} ${percent(limit)}: ${percent(value)}`);
    }
  });
}

/** The steps at which predictions are others than at the log before. */
function flips(probes: ProbeNames, { steps, probes: columns }: Timeline, add: Add): void {
  const rows = columns.prediction ?? [];
  for (let i = 1; i < rows.length; i++) {
    const [before, now] = [rows[i - 1]!, rows[i]!];
    if (before.length !== now.length) continue;
    const answer = (at: number, probe: number): string => answerText(probes, (name) => columns[name]?.[at]?.[probe]);
    const sets = columns["predicted_labels/0"] !== undefined;
    const changed = now.flatMap((value, probe) => ((sets ? answer(i, probe) !== answer(i - 1, probe) : value !== before[probe]) ? [probe] : []));
    if (changed.length === 0) continue;
    const named = changed.slice(0, NAMED).map((probe) => `${probes.names[probe]}: ${answer(i - 1, probe)} → ${answer(i, probe)}`);
    const more = changed.length > NAMED ? `, and ${changed.length - NAMED} more` : "";
    add("flip", steps[i]!, `${plural(changed.length, "prediction")} flipped (${named.join("; ")}${more})`);
  }
}
