// All runs as a table: what their curves were at their last step, sortable by any of them.
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { fetchRuns } from "../data/api";
import { isShare, number, percent, quantityTitle, short } from "../data/format";
import { quantities } from "../data/series";
import type { RunListing } from "../data/types";
import type { Model } from "../state/model";
import { liveness, searchOf, sharedParts, spanOfTime, distinctPart } from "../state/names";
import { Dot } from "../ui/Dot";
import { adopt } from "../ui/sheets";
import { csv, save } from "../ui/files";
import css from "./runs.css";

/** Curves of the whole model; those of single tensors are added by name. */
const ASKED = ["lrp/*", "gradients/norm", "probe_gradients/norm", "weights/norm", "weights/update_ratio"];
const EVERY_SECONDS = 15;

type Sort = { by: string; down: boolean };

export function View({ model }: { model: Model }): JSX.Element {
  adopt(css);
  const [more, setMore] = useState<string[]>([]);
  const [listings, setListings] = useState<RunListing[] | Error | null>(null);
  const [sort, setSort] = useState<Sort>({ by: "last_logged", down: true });
  useEffect(() => {
    let gone = false;
    const ask = (): void => {
      fetchRuns([...ASKED, ...more]).then(
        (found) => !gone && setListings(found),
        (error: unknown) => !gone && setListings(error instanceof Error ? error : new Error(String(error))),
      );
    };
    ask();
    const timer = window.setInterval(ask, EVERY_SECONDS * 1000);
    return () => {
      gone = true;
      window.clearInterval(timer);
    };
  }, [more]);
  if (listings === null || listings instanceof Error) {
    return (
      <div class="grid-area hint" role={listings ? "alert" : undefined}>
        <p>{listings ? listings.message : "Loading the table …"}</p>
      </div>
    );
  }
  const { fits } = searchOf(model.view.find);
  const rows = sortRows(listings.filter(({ name }) => fits(name)), sort);
  const shared = sharedParts(listings.map(({ name }) => name));
  const masks = model.selected().flatMap((run) => run.info?.probes.masks ?? []);
  const tags = tagsOf(rows, masks);
  const others = [...new Set(model.selected().flatMap((run) => run.timeline?.tags ?? []))].filter((tag) => !tags.includes(tag)).sort();
  const chosen = new Set(model.selected().map((run) => run.listing.run));
  const toggle = (run: string, on: boolean): void => {
    if (on) chosen.add(run);
    else chosen.delete(run);
    model.setView({ runs: listings.map((one) => one.run).filter((one) => chosen.has(one)) });
  };
  const now = Date.now() / 1000;
  const header = (by: string, title: string, full = title): JSX.Element => (
    <th key={by} scope="col" aria-sort={sort.by === by ? (sort.down ? "descending" : "ascending") : undefined}>
      <button type="button" title={`${full}: sort`} onClick={() => setSort({ by, down: sort.by === by ? !sort.down : by !== "name" })}>
        {title}
        <span aria-hidden="true">{sort.by === by ? (sort.down ? " ↓" : " ↑") : ""}</span>
      </button>
    </th>
  );
  return (
    <div class="grid-area run-table" tabIndex={0} role="region" aria-label="Table of runs">
      <header>
        <h2>{listings.length === rows.length ? `${rows.length} runs` : `${rows.length} of ${listings.length} runs`}, their curves at the last step</h2>
        {others.length > 0 && (
          <select aria-label="Add a column" data-testid="add-column" value="" onChange={(event) => setMore([...more, event.currentTarget.value])}>
            <option value="">add a column …</option>
            {others.map((tag) => (
              <option key={tag} value={tag}>
                {quantityTitle(tag)}
              </option>
            ))}
          </select>
        )}
        <button type="button" data-testid="table-csv" onClick={() => save("runs.csv", "text/csv", tableCsv(rows, tags))}>
          Save as CSV
        </button>
      </header>
      <table data-testid="run-table">
        <thead>
          <tr>
            {header("name", "Run")}
            {header("last_step", "Last step")}
            {header("steps", "Logged steps")}
            {header("last_logged", "Last log")}
            {tags.map((tag) => header(tag, quantityTitle(tag), tag))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => {
            const state = model.runs?.find((run) => run.listing.run === row.run);
            return (
              <tr key={row.run} data-run={row.run}>
                <th scope="row">
                  <label title={row.name}>
                    <input type="checkbox" checked={chosen.has(row.run)} disabled={row.error !== undefined} onChange={(event) => toggle(row.run, event.currentTarget.checked)} />
                    {state && <Dot run={state} />}
                    <bdi>{short(distinctPart(row.name, shared), 48)}</bdi>
                  </label>
                </th>
                {row.error === undefined ? (
                  <>
                    <td>{row.last_step ?? "–"}</td>
                    <td>{row.steps}</td>
                    <td>{lastLog(row, now)}</td>
                    {tags.map((tag) => {
                      const value = row.values?.[tag];
                      return <td key={tag}>{value === undefined ? "" : value === null ? "not finite" : isShare(tag) ? percent(value) : number(value)}</td>;
                    })}
                  </>
                ) : (
                  <td class="bad" colSpan={3 + tags.length}>{row.error}</td>
                )}
              </tr>
            );
          })}
        </tbody>
      </table>
      {rows.length === 0 && <p class="aside">No run fits the search on the left.</p>}
    </div>
  );
}

function lastLog(row: RunListing, now: number): string {
  if (typeof row.last_logged !== "number") return "–";
  const state = liveness(row, now);
  return `${spanOfTime(now - row.last_logged)} ago${state === "ended" ? ", ended" : state === "stalled" ? ", silent" : ""}`;
}

/** Tags that some run has a value of, in the order of the curves' menu. */
const tagsOf = (rows: readonly RunListing[], masks: readonly string[]): string[] =>
  quantities(rows.map((row) => ({ steps: [], scalars: Object.fromEntries(Object.keys(row.values ?? {}).map((tag) => [tag, []])), probes: {} })), masks).all;

/** Rows by a column; those without a value come last either way, equal ones as they were. */
export function sortRows(rows: readonly RunListing[], { by, down }: Sort): RunListing[] {
  const valueOf = (row: RunListing): string | number | null => {
    if (by === "name") return row.name;
    const value = by in row ? (row[by as keyof RunListing] as unknown) : row.values?.[by];
    return typeof value === "number" ? value : null;
  };
  return [...rows].sort((a, b) => {
    const [x, y] = [valueOf(a), valueOf(b)];
    if (x === y) return 0;
    if (x === null || y === null) return x === null ? 1 : -1;
    return (x < y ? -1 : 1) * (down ? -1 : 1);
  });
}

export const tableCsv = (rows: readonly RunListing[], tags: readonly string[]): string =>
  csv([
    ["run", "steps", "last_step", "last_logged", ...tags],
    ...rows.map((row) => [row.name, row.steps, row.last_step, row.last_logged ?? null, ...tags.map((tag) => row.values?.[tag] ?? null)]),
  ]);
