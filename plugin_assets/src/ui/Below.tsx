// Where the curves and histograms stand: as large while they are on their way, so that nothing moves when they come.
import type { JSX } from "preact";
import type { Model } from "../state/model";
import { useLazy } from "./lazy";

const load = () => import("./Panels");

export function Below({ model }: { model: Model }): JSX.Element {
  const panels = useLazy(load);
  if (panels === null || panels instanceof Error) return <Places error={panels} runs={model.selected().length} />;
  return (
    <>
      <panels.Timelines model={model} />
      <panels.Histograms model={model} />
    </>
  );
}

/** A line of the table of counts, in pixels. */
const LINE = 15;

function Places({ error, runs }: { error: Error | null; runs: number }): JSX.Element {
  return (
    <>
      <section class="panel timelines" aria-label="Over training" aria-busy={error === null} data-count="1">
        <div class="timeline">
          <header>
            <h2>Over training</h2>
          </header>
          <div class="plot" data-testid="timeline">
            {error && <p class="trouble" role="alert">The curves could not be loaded ({error.message}): reload the page.</p>}
          </div>
          <ul class="readout" />
        </div>
      </section>
      <section class="panel histograms" aria-label="Histograms at this step" aria-busy={error === null}>
        <header>
          <h2>At this step</h2>
        </header>
        <div class="plots">
          {["weight", "gradient"].map((kind) => (
            <figure key={kind} class="histogram" data-testid={`histogram-${kind}`}>
              <h3>{"\u00a0"}</h3>
              <div class="plot-box">
                <div class="plot" />
              </div>
              <div class="counts-box" style={{ height: `${LINE * (1 + runs)}px` }} />
            </figure>
          ))}
        </div>
      </section>
    </>
  );
}
