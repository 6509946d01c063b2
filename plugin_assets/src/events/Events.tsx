// What happened, in all runs or the chosen ones, in a list; each entry leads to its step. And notes of one's own.
import type { JSX } from "preact";
import { useLayoutEffect, useState } from "preact/hooks";
import { count, plural, short } from "../data/format";
import { errorText } from "../data/refresh";
import type { RunState } from "../data/run";
import type { Model } from "../state/model";
import { sharedParts, distinctPart } from "../state/names";
import { Dot } from "../ui/Dot";
import { csv, save } from "../ui/files";
import { useCache } from "../ui/hooks";
import { adopt } from "../ui/sheets";
import css from "./events.css";
import { AddNote } from "./AddNote";
import { EventAnswers, eventsJob, type RunEvents } from "./answers";
import { KINDS, type EventKind, type RunEvent } from "./detect";
import { addNote, isKept, readMark, removeNote, withMark } from "./notes";

const MOST = 500;

interface Entry extends RunEvent {
  /** Null for a note in the address. */
  run: RunState | null;
  /** A note of a person: its file's name, or itself as it is in the address. */
  note: string | null;
}

/** The events of runs, by their names: an Error where they cannot be loaded, absent while they are. */
function useEvents(model: Model, runs: readonly RunState[]): ReadonlyMap<string, RunEvents | Error> {
  const { runs: loader } = useCache(model, EventAnswers);
  const jobs = runs.filter(({ listing }) => listing.error === undefined).map((run) => eventsJob(model, run));
  useLayoutEffect(() => loader.want(jobs), [loader, jobs.map(({ key, state }) => `${key} ${state}`).join("\n")]);
  return new Map(
    jobs.flatMap(({ key }): [string, RunEvents | Error][] => {
      const failure = loader.failure(key);
      const known = loader.get(key) ?? (failure === undefined ? undefined : new Error(failure));
      return known ? [[key, known]] : [];
    }),
  );
}

export function View({ model }: { model: Model }): JSX.Element {
  adopt(css);
  const [all, setAll] = useState(false);
  const [hidden, setHidden] = useState<ReadonlySet<EventKind>>(new Set());
  const [latest, setLatest] = useState(true);
  const [removed, setRemoved] = useState<Removed | null>(null);
  const runs = all ? (model.runs ?? []).filter(({ listing }) => listing.steps > 0) : model.selected();
  const found = useEvents(model, runs);
  const entries = [...runs.flatMap((run) => entriesOf(run, found.get(run.listing.run))), ...model.view.marks.flatMap(markEntry)];
  const counts = new Map<EventKind, number>();
  for (const { kind } of entries) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  const shown = entries.filter(({ kind }) => !hidden.has(kind)).sort((a, b) => (latest ? b.step - a.step : a.step - b.step));
  const shared = sharedParts(runs.map(({ listing }) => listing.name));
  const waiting = runs.filter(({ listing }) => listing.error === undefined && !found.has(listing.run)).length;
  const failed = runs.flatMap(({ listing }) => {
    const events = found.get(listing.run);
    return events instanceof Error ? [`${listing.name}: ${events.message}`] : [];
  });
  const nameOf = (run: RunState | null): string => (run === null ? "" : distinctPart(run.listing.name, shared));
  const isRemovable = ({ run, note }: Entry): boolean => note !== null && (run === null || isKept());
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
        <button type="button" onClick={() => save("events.csv", "text/csv", csv([["run", "step", "time", "kind", "event"], ...shown.map((one) => [one.run?.listing.name ?? "", one.step, one.time, one.kind, one.text])]))}>
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
      <AddNote model={model} />
      {waiting > 0 && <p class="aside" role="status">Looking through {plural(waiting, "run")} …</p>}
      {failed.map((message) => (
        <p key={message} class="trouble">{message}</p>
      ))}
      <p class="removed" role="status" data-testid="note-removed">
        {removed && (
          <>
            <bdi>{removed.error === null ? `Removed the note on step ${removed.entry.step}.` : `The note on step ${removed.entry.step} was not removed: ${removed.error}`}</bdi>
            {removed.error === null && (
              <button type="button" data-testid="note-undo" onClick={() => void restore(model, removed.entry).then(setRemoved)}>
                Undo
              </button>
            )}
          </>
        )}
      </p>
      <ol>
        {shown.slice(0, MOST).map((entry) => (
          <li key={`${entry.run?.listing.run} ${entry.kind} ${entry.step} ${entry.note ?? entry.text}`} class={entry.kind}>
            <button type="button" class="jump" title={`Show step ${entry.step}`} onClick={() => jump(model, entry)}>
              <span class="step">{entry.step}</span>
              {entry.run && runs.length > 1 && (
                <span class="of">
                  <Dot run={entry.run} />
                  <bdi title={entry.run.listing.name}>{short(nameOf(entry.run), 28)}</bdi>
                </span>
              )}
              <bdi class="text">{short(entry.text, 400)}</bdi>
              <span class="aside">{entry.time === null ? "" : when(entry.time)}</span>
            </button>
            {isRemovable(entry) && (
              <button type="button" class="small" aria-label={`Remove the note on step ${entry.step}`} title="Remove this note" onClick={() => void remove(model, entry).then(setRemoved)}>
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

function entriesOf(run: RunState, found: RunEvents | Error | undefined): Entry[] {
  if (found === undefined || found instanceof Error) return [];
  const notes = found.notes.map(({ name, step, text, wall_time }): Entry => ({ kind: "mark", step, text, time: wall_time, run, note: name }));
  return [...found.events.map((event): Entry => ({ ...event, run, note: null })), ...notes];
}

function markEntry(text: string): Entry[] {
  const mark = readMark(text);
  return mark ? [{ kind: "mark", step: mark.step, time: null, text: mark.text, run: null, note: text }] : [];
}

/** A note that was removed; `error`: why it could not be. */
interface Removed {
  entry: Entry;
  error: string | null;
}

async function remove(model: Model, entry: Entry): Promise<Removed> {
  const { run, note } = entry;
  if (run === null) {
    model.setView({ marks: model.view.marks.filter((one) => one !== note) });
    return { entry, error: null };
  }
  try {
    await removeNote(run, note!);
    await model.pollNow();
    return { entry, error: null };
  } catch (error) {
    return { entry, error: errorText(error) };
  }
}

/** Puts a removed note back; where the run's folder does not take it any more, into the address. */
async function restore(model: Model, { run, step, text }: Entry): Promise<null> {
  const kept = run !== null && (await addNote(run, step, text).then(() => true, () => false));
  if (kept) await model.pollNow();
  else model.setView({ marks: withMark(model.view.marks, { step, text }) });
  return null;
}

const form = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const when = (time: number): string => form.format(new Date(1000 * time)).replace(",", "");

function jump(model: Model, { step, run }: Entry): void {
  const chosen = model.selected().map(({ listing }) => listing.run);
  const also = run && !chosen.includes(run.listing.run) ? { runs: [...chosen, run.listing.run] } : {};
  model.setView({ step, ...also });
}
