// What happened, in all runs or the chosen ones, in a list; each entry leads to its step. And notes of one's own.
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { ApiError, fetchRun, fetchTimeline, hasServer, json } from "../data/api";
import { count, plural, short } from "../data/format";
import type { RunState } from "../data/jobs";
import type { Timeline } from "../data/types";
import type { Model } from "../state/model";
import { sharedParts, telling } from "../state/names";
import { Dot } from "../ui/Dot";
import { csv, save } from "../ui/files";
import { adopt } from "../ui/sheets";
import css from "./events.css";
import { AddNote } from "./AddNote";
import { eventsOf, KINDS, noteEvent, readMark, type Emerged, type EventKind, type KeptNote, type RunEvent } from "./found";

const PARALLEL = 4;
const MOST = 500;

type Found = RunEvent[] | Error;
interface Entry extends RunEvent {
  run: RunState | null;
  mark: string | null;
}

/** The events of runs, asked for a few runs at a time; again where a run has logged more. */
function useEvents(runs: readonly RunState[]): [ReadonlyMap<string, Found>, (run: RunState, note: KeptNote) => void] {
  const [found, setFound] = useState<ReadonlyMap<string, { at: string; events: Found }>>(new Map());
  const keyOf = ({ listing }: RunState): string => `${listing.session} ${listing.steps}`;
  const wanted = runs.map((run) => `${run.listing.run} ${keyOf(run)}`).join("\n");
  useEffect(() => {
    let gone = false;
    const queue = runs.filter((run) => run.listing.error === undefined && found.get(run.listing.run)?.at !== keyOf(run));
    const next = async (): Promise<void> => {
      const run = queue.shift();
      if (!run || gone) return;
      const { listing } = run;
      const at = keyOf(run);
      const known = run.info !== null && run.info.steps.length === listing.steps ? run.info : null;
      const asked = [known ?? fetchRun(listing.run, null), fetchTimeline(listing.run, null, ["prediction", "predicted_labels/*"], []), fetchNotes(listing.run)] as const;
      const events: Found = await Promise.all(asked).then(
        async ([info, timeline, notes]) => eventsOf(info, timeline, listing.ended ?? false, await fetchEmerged(listing.run, timeline), notes),
        (error: unknown) => (error instanceof Error ? error : new Error(String(error))),
      );
      if (gone) return;
      setFound((before) => new Map([...before, [listing.run, { at, events }]]));
      await next();
    };
    for (let i = 0; i < PARALLEL; i++) void next();
    return () => {
      gone = true;
    };
  }, [wanted]);
  const added = ({ listing: { run } }: RunState, note: KeptNote): void =>
    setFound((before) => {
      const known = before.get(run);
      return known && Array.isArray(known.events) ? new Map([...before, [run, { ...known, events: [...known.events, noteEvent(note)] }]]) : before;
    });
  return [new Map([...found].map(([name, { events }]) => [name, events])), added];
}

/** An exported page holds no features, and one of an earlier version no notes. */
const leftOut = (error: unknown): [] => {
  if (!hasServer() && error instanceof ApiError && error.status === 404) return [];
  throw error;
};

const fetchNotes = (run: string): Promise<KeptNote[]> =>
  json<{ notes: KeptNote[] }>("notes", { run }).then(({ notes }) => notes, leftOut);

const fetchEmerged = async (run: string, { scalars }: Timeline): Promise<Emerged[]> =>
  Object.keys(scalars).some((tag) => tag.startsWith("lrp/features/")) ? json<{ layers: Emerged[] }>("features", { run }).then(({ layers }) => layers, leftOut) : [];

export function View({ model }: { model: Model }): JSX.Element {
  adopt(css);
  const [all, setAll] = useState(false);
  const [hidden, setHidden] = useState<ReadonlySet<EventKind>>(new Set());
  const [latest, setLatest] = useState(true);
  const runs = all ? (model.runs ?? []).filter(({ listing }) => listing.steps > 0) : model.selected();
  const [found, added] = useEvents(runs);
  const marks: Entry[] = model.view.marks.flatMap((text): Entry[] => {
    const mark = readMark(text);
    return mark ? [{ kind: "mark", step: mark.step, time: null, words: mark.text, run: null, mark: text }] : [];
  });
  const entries: Entry[] = runs.flatMap((run) => {
    const events = found.get(run.listing.run);
    return Array.isArray(events) ? events.map((event): Entry => ({ ...event, run, mark: null })) : [];
  });
  entries.push(...marks);
  const counts = new Map<EventKind, number>();
  for (const { kind } of entries) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  const shown = entries.filter(({ kind }) => !hidden.has(kind)).sort((a, b) => (latest ? b.step - a.step : a.step - b.step));
  const shared = sharedParts(runs.map(({ listing }) => listing.name));
  const waiting = runs.filter(({ listing }) => listing.error === undefined && !found.has(listing.run)).length;
  const failed = runs.flatMap(({ listing }) => {
    const events = found.get(listing.run);
    return events instanceof Error ? [`${listing.name}: ${events.message}`] : [];
  });
  const nameOf = (run: RunState | null): string => (run === null ? "" : telling(run.listing.name, shared));
  return (
    <div class="grid-area events" tabIndex={0} role="region" aria-label="Events" data-testid="events" data-waiting={waiting}>
      <header>
        <h2>What happened</h2>
        <label class="check">
          <input type="checkbox" checked={all} data-testid="all-runs" onChange={(event) => setAll(event.currentTarget.checked)} />
          in all {count(model.runs?.length ?? 0)} runs
        </label>
        <select aria-label="Order of the events" value={latest ? "latest" : "first"} onChange={(event) => setLatest(event.currentTarget.value === "latest")}>
          <option value="latest">latest step first</option>
          <option value="first">first step first</option>
        </select>
        <button type="button" onClick={() => save("events.csv", "text/csv", csv([["run", "step", "time", "kind", "event"], ...shown.map((one) => [one.run?.listing.name ?? "", one.step, one.time, one.kind, one.words])]))}>
          Save as CSV
        </button>
      </header>
      <div class="chips" role="group" aria-label="Kinds of events">
        {(Object.keys(KINDS) as EventKind[]).map((kind) => (
          <button
            key={kind}
            type="button"
            class={hidden.has(kind) ? "chip" : "chip on"}
            aria-pressed={!hidden.has(kind)}
            onClick={() => setHidden(new Set(hidden.has(kind) ? [...hidden].filter((one) => one !== kind) : [...hidden, kind]))}
          >
            {KINDS[kind]} {count(counts.get(kind) ?? 0)}
          </button>
        ))}
      </div>
      <AddNote model={model} added={added} />
      {waiting > 0 && <p class="aside" role="status">Looking through {plural(waiting, "run")} …</p>}
      {failed.map((words) => (
        <p key={words} class="trouble">{words}</p>
      ))}
      <ol>
        {shown.slice(0, MOST).map((entry) => (
          <li key={`${entry.run?.listing.run} ${entry.kind} ${entry.step} ${entry.words}`} class={entry.kind}>
            <button type="button" class="jump" title={`Show step ${entry.step}`} onClick={() => jump(model, entry)}>
              <span class="step">{entry.step}</span>
              {entry.run && runs.length > 1 && (
                <span class="of">
                  <Dot run={entry.run} />
                  <bdi title={entry.run.listing.name}>{short(nameOf(entry.run), 28)}</bdi>
                </span>
              )}
              <bdi class="words">{short(entry.words, 400)}</bdi>
              <span class="aside">{entry.time === null ? "" : when(entry.time)}</span>
            </button>
            {entry.mark !== null && (
              <button type="button" class="small" aria-label={`Remove the note on step ${entry.step}`} onClick={() => model.setView({ marks: model.view.marks.filter((one) => one !== entry.mark) })}>
                ×
              </button>
            )}
          </li>
        ))}
      </ol>
      {shown.length > MOST && <p class="aside">{count(shown.length - MOST)} more: leave kinds out above, or save all as CSV.</p>}
      {shown.length === 0 && waiting === 0 && <p class="aside" data-testid="no-events">Nothing to report.</p>}
    </div>
  );
}

const form = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const when = (time: number): string => form.format(new Date(1000 * time)).replace(",", "");

function jump(model: Model, { step, run }: Entry): void {
  const chosen = model.selected().map(({ listing }) => listing.run);
  const also = run && !chosen.includes(run.listing.run) ? { runs: [...chosen, run.listing.run] } : {};
  model.setView({ step, ...also });
}
