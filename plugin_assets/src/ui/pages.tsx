// The views of the page's middle: heatmaps, and others that are loaded when they are first opened.
import type { JSX } from "preact";
import type { Model } from "../state/model";
import { pagesOf, type PageName } from "../state/view";
import { Grid } from "./Grid";
import { Loading, useLazy } from "./lazy";

type View = { View: (props: { model: Model }) => JSX.Element };

const OTHERS: Partial<Record<PageName, () => Promise<View>>> = {
  network: () => import("../overview/Network"),
  features: () => import("../features/Features"),
  runs: () => import("../runs/RunTable"),
  events: () => import("../events/Events"),
  help: () => import("../help/Help"),
};

export function MiddleView({ model }: { model: Model }): JSX.Element {
  const load = OTHERS[model.view.page];
  return load ? <Other model={model} load={load} key={model.view.page} /> : <Grid model={model} />;
}

function Other({ model, load }: { model: Model; load: () => Promise<View> }): JSX.Element {
  const code = useLazy(load);
  if (code === null || code instanceof Error) return <Loading part={code} />;
  return <code.View model={model} />;
}

/** Where one chooses the view. */
export function Pages({ model }: { model: Model }): JSX.Element {
  return (
    <nav class="pages" aria-label="Views">
      {pagesOf().map(([page, title]) => (
        <button
          key={page}
          type="button"
          data-testid={`page-${page}`}
          aria-current={model.view.page === page ? "page" : undefined}
          onClick={() => model.setView({ page, probe: null })}
        >
          {page === "help" ? `${title} ?` : title}
        </button>
      ))}
    </nav>
  );
}
