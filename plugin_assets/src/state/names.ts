// Names of many runs on little room: the parts that differ, groups by folder, search, order.
import type { RunListing } from "../data/types";

const BREAK = /[/_\- ]/;

/** What names share at their start and at their end. */
export interface Shared {
  start: string;
  end: string;
}

/**
 * What all names begin and end with, cut at breaks between parts: at "/" where they differ in folders, else at "_", "-"
 * or " " as well.
 * Nothing for fewer than two names, and never so much that nothing would be left of one.
 */
export function sharedParts(names: readonly string[]): Shared {
  const [first = "", ...others] = names;
  if (others.length === 0 || others.every((name) => name === first)) return { start: "", end: "" };
  let length = sharedLength(names);
  const folder = first.lastIndexOf("/", length - 1);
  while (length > 0 && !BREAK.test(first[length - 1]!)) length--;
  // A folder's name is never cut; the last part of a path is.
  const start = first.slice(0, names.some((name) => name.includes("/", length)) ? folder + 1 : length);
  const rests = names.map((name) => [...name.slice(start.length)].reverse().join(""));
  const rest = rests[0]!;
  let back = Math.min(sharedLength(rests), ...rests.map((text) => text.length - 1));
  while (back > 0 && !BREAK.test(rest[back - 1]!)) back--;
  return { start, end: [...rest.slice(0, back)].reverse().join("") };
}

function sharedLength(names: readonly string[]): number {
  const first = names[0]!;
  let length = Math.max(0, Math.min(...names.map((name) => name.length - 1)));
  for (const name of names) {
    let at = 0;
    while (at < length && name[at] === first[at]) at++;
    length = at;
  }
  return length;
}

/** The part of a name that differs from others that share `start` and `end`. */
export function distinctPart(name: string, { start, end }: Shared): string {
  const from = name.startsWith(start) ? start.length : 0;
  const to = name.endsWith(end) ? name.length - end.length : name.length;
  return from < to ? name.slice(from, to) : name;
}

export type Search = { fits: (name: string) => boolean; error: string | null };

/** A text that must be in a name, of whatever case, or a regular expression between slashes. */
export function searchOf(text: string): Search {
  const pattern = /^\/(.+)\/$/s.exec(text.trim());
  if (!pattern) {
    const wanted = text.trim().toLocaleLowerCase();
    return { fits: (name) => name.toLocaleLowerCase().includes(wanted), error: null };
  }
  try {
    const expression = new RegExp(pattern[1]!, "iu");
    return { fits: (name) => expression.test(name), error: null };
  } catch (error) {
    return { fits: () => false, error: error instanceof Error ? error.message : String(error) };
  }
}

const age = (listing: RunListing): number => listing.last_logged ?? -Infinity;

/** Runs with the one first that logged last; equal ones in the order of the listing. */
export const newestFirst = <Run extends { listing: RunListing }>(runs: readonly Run[]): Run[] =>
  [...runs].sort((a, b) => (age(a.listing) === age(b.listing) ? 0 : age(b.listing) - age(a.listing)));

export interface RunGroup<Run> {
  /** The part of the path that its runs share; "" for runs that share none. */
  title: string;
  runs: Run[];
}

/**
 * Runs by the first part of their path behind what all share; one group without a title where that makes none of two
 * runs or more, or but one. Groups stand where their first run does.
 */
export function groupRuns<Run extends { listing: RunListing }>(runs: readonly Run[], start: string): RunGroup<Run>[] {
  const groups = new Map<string, Run[]>();
  for (const run of runs) {
    const parts = distinctPart(run.listing.name, { start, end: "" }).split("/");
    const title = parts.length > 1 ? parts[0]! : "";
    groups.set(title, [...(groups.get(title) ?? []), run]);
  }
  const titled = [...groups].filter(([title]) => title !== "");
  if (titled.length === 0 || groups.size < 2 || !titled.some(([, members]) => members.length > 1)) return [{ title: "", runs: [...runs] }];
  return [...groups].map(([title, members]) => ({ title, runs: members }));
}

/** How a run goes on, by its listing at a time (seconds): "ended", "stalled" (silent five times as long as usual), "live". */
export function liveness(listing: RunListing, now: number): "ended" | "stalled" | "live" | null {
  const { first_logged: first, last_logged: last, steps, ended } = listing;
  if (ended) return "ended";
  if (typeof first !== "number" || typeof last !== "number") return null;
  const usual = steps > 1 ? (last - first) / (steps - 1) : 0;
  return now - last > Math.max(600, 5 * usual) ? "stalled" : "live";
}

/** A span of time as text: "8 s", "3 min", "5 h", "12 days". */
export function spanOfTime(seconds: number): string {
  const [size, unit] = ([[86400, "days"], [3600, "h"], [60, "min"], [1, "s"]] as const).find(([each]) => seconds >= 1.5 * each) ?? [1, "s"];
  return `${Math.max(0, Math.round(seconds / size))} ${unit}`;
}

/** What is shown without a choice: of the readable runs the newest one, and the next that watches the same probes. */
export function firstChoice<Run extends { listing: RunListing }>(runs: readonly Run[]): Run[] {
  const readable = newestFirst(runs.filter(({ listing }) => listing.error === undefined && listing.steps > 0));
  const two = readable.filter(({ listing }) => listing.probes_hash === readable[0]?.listing.probes_hash).slice(0, 2);
  return runs.filter((run) => two.includes(run));
}

/** The chosen runs among those there are, found once for the same ones: they are asked for all the time. */
export class Choice<Run extends { listing: RunListing }> {
  private last: { runs: readonly Run[]; chosen: readonly string[] | null; found: Run[] } = { runs: [], chosen: null, found: [] };

  of(runs: readonly Run[] | null, chosen: readonly string[] | null): Run[] {
    if (runs !== null && (runs !== this.last.runs || chosen !== this.last.chosen)) {
      const names = chosen && new Set(chosen);
      this.last = { runs, chosen, found: names ? runs.filter(({ listing }) => names.has(listing.run)) : firstChoice(runs) };
    }
    return runs === null ? [] : this.last.found;
  }
}
