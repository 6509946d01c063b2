// Out of the page: a link to this view, its curves and figures as files; and back to how it opens.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { Model } from "../state/model";
import { DEFAULT_VIEW } from "../state/view";
import { csv, save } from "./files";
import { Fold } from "./Fold";

export function Share({ model }: { model: Model }): JSX.Element {
  const [said, say] = useState("");
  const copy = (): void => {
    const link = model.link();
    navigator.clipboard.writeText(link).then(
      () => say("The link is in the clipboard."),
      () => say(link), // a frame that may not write there: to be copied by hand
    );
  };
  return (
    <Fold title="This view">
      <div class="share">
        <button type="button" data-testid="copy-link" onClick={copy}>
          Copy link
        </button>
        <button type="button" data-testid="reset-view" title="Everything as the page opens, but for the chosen runs" onClick={() => model.setView({ ...DEFAULT_VIEW, runs: model.view.runs })}>
          Reset
        </button>
        <button type="button" data-testid="grid-png" title="All probes that are shown, with the maps of all chosen runs" onClick={() => void picture(model).then(say)}>
          Grid as PNG
        </button>
        <button type="button" data-testid="curves-csv" title="All curves of the chosen runs that the page has loaded" onClick={() => save("curves.csv", "text/csv", curves(model))}>
          Curves as CSV
        </button>
        <button type="button" data-testid="step-json" title="Each probe’s figures at this step" onClick={() => save("step.json", "application/json", figures(model))}>
          Figures as JSON
        </button>
      </div>
      <p class="aside wrap" role="status">
        {said}
      </p>
    </Fold>
  );
}

/** The picture's code is loaded when it is first asked for. */
const picture = (model: Model): Promise<string> =>
  import("../share/grid").then(({ saveGrid }) => saveGrid(model)).catch((error: unknown) => (error instanceof Error ? error.message : String(error)));

/** A row a run and step: every scalar that is loaded. */
export function curves(model: Pick<Model, "selected">): string {
  const runs = model.selected().filter((run) => run.timeline !== null);
  const tags = [...new Set(runs.flatMap((run) => Object.keys(run.timeline!.scalars)))].sort();
  const rows = runs.flatMap((run) =>
    run.timeline!.steps.map((step, i) => {
      const info = run.info?.steps[i];
      return [run.listing.name, step, info?.epoch ?? null, info?.batch ?? null, info?.wall_time ?? null, ...tags.map((tag) => run.timeline!.scalars[tag]?.[i] ?? null)];
    }),
  );
  return csv([["run", "step", "epoch", "batch", "wall_time", ...tags], ...rows]);
}

/** What the chosen runs show at the step of the slider, as it was logged. */
function figures(model: Model): string {
  const shown = model.selected().flatMap((run) => {
    const header = run.frame?.header;
    if (!header || !run.info) return [];
    const { step, epoch, batch, wall_time, scalars, probes, notes } = header;
    const histograms = Object.fromEntries(Object.entries(run.histograms).map(([kind, one]) => [kind, one && { tensor: one.tensor, ...one.answer }]));
    return [{ run: run.listing.name, step, epoch, batch, wall_time, notes, scalars, names: run.info.probes.names, probes, histograms }];
  });
  return JSON.stringify(shown, null, 1);
}
