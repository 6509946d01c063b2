// Out of the page: a link to this view, its curves and figures as files; and back to how it opens.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { errorText } from "../data/refresh";
import type { Model } from "../state/model";
import { DEFAULT_VIEW } from "../state/view";
import { Fold } from "./Fold";

export type What = "curves" | "figures" | "histograms";
export type Form = "csv" | "json";

const TABLES: [What, string, string][] = [
  ["curves", "Curves", "All curves of the chosen runs that the page has loaded"],
  ["figures", "Figures", "Each probe’s figures at this step"],
  ["histograms", "Histograms", "Of the tensor that is shown, at this step"],
];

export function Share({ model }: { model: Model }): JSX.Element {
  const [status, setStatus] = useState("");
  const copy = (): void => {
    const link = model.link();
    navigator.clipboard.writeText(link).then(
      () => setStatus("The link is in the clipboard."),
      () => setStatus(link), // a frame that may not write there: to be copied by hand
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
        <button type="button" data-testid="grid-png" title="All probes that are shown, with the maps of all chosen runs" onClick={() => void picture(model).then(setStatus)}>
          Grid as PNG
        </button>
        {TABLES.map(([what, name, title]) => (
          <span key={what} class="forms" role="group" aria-label={name} title={title}>
            {name}
            <button type="button" data-testid={`${what}-csv`} aria-label={`${name} as CSV`} onClick={() => void table(model, what, "csv").then(setStatus)}>
              CSV
            </button>
            <button type="button" data-testid={`${what}-json`} aria-label={`${name} as JSON`} onClick={() => void table(model, what, "json").then(setStatus)}>
              JSON
            </button>
          </span>
        ))}
      </div>
      <p class="aside wrap" role="status">
        {status}
      </p>
    </Fold>
  );
}


/** The code of pictures and tables is loaded when it is first asked for. */
const picture = (model: Model): Promise<string> => import("../share/grid").then(({ saveGrid }) => saveGrid(model)).catch(errorText);
const table = (model: Model, what: What, form: Form): Promise<string> => import("../share/tables").then(({ saveTable }) => saveTable(model, what, form)).catch(errorText);
