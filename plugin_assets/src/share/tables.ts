// Figures out of the page: curves, the statistics of a step and the histograms of a tensor, as CSV and as JSON.
import { bucketEdges } from "../data/bins";
import type { RunState } from "../data/run";
import { percentile } from "../data/percentiles";
import type { Model } from "../state/model";
import { csv, save } from "../ui/files";
import type { Form, What } from "../ui/Share";

type Shown = Pick<Model, "selected">;
type Cells = (string | number | null)[];

const PERCENTILES = [1, 5, 25, 50, 75, 95, 99];

/** Hands a file to the browser's downloads; returns a message where there is nothing to put in it. */
export function saveTable(model: Shown, what: What, form: Form): string {
  const rows = { curves, figures, histograms }[what](model);
  if (rows.length < 2) return "Nothing of that is loaded yet.";
  if (form === "csv") save(`${what}.csv`, "text/csv", csv(rows));
  else save(`${what}.json`, "application/json", JSON.stringify({ curves: curvesOf, figures: figuresOf, histograms: histogramsOf }[what](model), null, 1));
  return "";
}

/** A row a run and step: every scalar that is loaded. */
export function curves(model: Shown): Cells[] {
  const runs = model.selected().filter((run) => run.timeline !== null);
  const tags = [...new Set(runs.flatMap((run) => Object.keys(run.timeline!.scalars)))].sort();
  const rows = runs.flatMap((run) =>
    run.timeline!.steps.map((step, i): Cells => {
      const info = run.info?.steps[i];
      return [run.listing.name, step, info?.epoch ?? null, info?.batch ?? null, info?.wall_time ?? null, ...tags.map((tag) => run.timeline!.scalars[tag]?.[i] ?? null)];
    }),
  );
  return [["run", "step", "epoch", "batch", "wall_time", ...tags], ...rows];
}

const curvesOf = (model: Shown): unknown[] =>
  model.selected().flatMap(({ listing, timeline, info }) => {
    if (timeline === null) return [];
    const { steps, scalars } = timeline;
    const of = (name: "epoch" | "batch" | "wall_time"): (number | null)[] => steps.map((_, i) => info?.steps[i]?.[name] ?? null);
    return [{ run: listing.name, steps, epoch: of("epoch"), batch: of("batch"), wall_time: of("wall_time"), scalars }];
  });

/** A row a run and probe: every statistic at the step that is shown. */
export function figures(model: Shown): Cells[] {
  const runs = model.selected().filter((run) => run.frame !== null && run.info !== null);
  const names = [...new Set(runs.flatMap((run) => Object.keys(run.frame!.header.probes)))].sort();
  const rows = runs.flatMap((run) =>
    run.info!.probes.names.map((probe, i): Cells => {
      const { step, probes } = run.frame!.header;
      return [run.listing.name, step, probe, run.info!.probes.labels?.[i] ?? run.info!.probes.label_sets?.[i]?.join(" ") ?? null, ...names.map((name) => probes[name]?.[i] ?? null)];
    }),
  );
  return [["run", "step", "probe", "label", ...names], ...rows];
}

/** What the chosen runs show at the step of the slider, as it was logged. */
const figuresOf = (model: Shown): unknown[] =>
  model.selected().flatMap((run) => {
    const header = run.frame?.header;
    if (!header || !run.info) return [];
    const { step, epoch, batch, wall_time, scalars, probes, notes } = header;
    return [{ run: run.listing.name, step, epoch, batch, wall_time, notes, scalars, names: run.info.probes.names, labels: run.info.probes.labels, probes, histograms: histogramsOf({ selected: () => [run] }) }];
  });

interface Counted {
  run: string;
  step: number;
  kind: string;
  tensor: string;
  percentiles: Record<string, number | null>;
  [name: string]: unknown;
}

const countedOf = (run: RunState): Counted[] =>
  Object.entries(run.histograms).flatMap(([kind, shown]): Counted[] => {
    const answer = shown?.answer;
    if (!answer || answer.note) return [];
    const percentiles = Object.fromEntries(PERCENTILES.map((share) => [share, percentile(answer, share / 100, kind === "gradient")]));
    return [{ run: run.listing.name, step: shown.step, kind, tensor: shown.tensor, percentiles, ...answer }];
  });

const histogramsOf = (model: Shown): Counted[] => model.selected().flatMap(countedOf);

/** A row a run, kind and bucket of the tensor that is shown: its ends and count; of its zeros and tiny values one at 0. */
export function histograms(model: Shown): Cells[] {
  const rows = model.selected().flatMap((run) =>
    Object.entries(run.histograms).flatMap(([kind, shown]): Cells[] => {
      const answer = shown?.answer;
      if (!answer || answer.note) return [];
      const start = [run.listing.name, shown.step, kind, shown.tensor];
      const parts: Cells[] = answer.buckets.map((bucket, i) => [...start, ...bucketEdges(bucket), answer.counts[i] ?? 0]);
      return [...parts, [...start, 0, 0, answer.zeros + answer.denormals], [...start, null, null, answer.nan + answer.inf]].sort((a, b) => order(a) - order(b));
    }),
  );
  return [["run", "step", "kind", "tensor", "low", "high", "count"], ...rows];
}

/** By the low end; what is not finite last. */
const order = (cells: Cells): number => (cells[4] === null ? Infinity : Number(cells[4]));
