// Relevance by layer, in data-flow order: what share of the explained logit reaches each layer's output at this step.
import type { JSX } from "preact";
import { number } from "../data/format";
import type { RunState } from "../data/run";
import type { Model } from "../state/model";
import { indexAtOrBefore } from "../data/steps";
import { runColour } from "../ui/colours";
import { column, type ProbeData } from "./probedata";

const PREFIX = "layer/";

interface LayersProps {
  model: Model;
  data: ProbeData;
  runs: readonly RunState[];
}

/** Layers of the runs in data-flow order, as far as they logged them. */
export function layersOf(data: ProbeData, runs: readonly RunState[]): string[] {
  const out: string[] = [];
  for (const run of runs) {
    const logged = run.info?.meta.layers;
    const columns = Object.keys(data.timeline(run)?.probes ?? {}).filter((name) => name.startsWith(PREFIX));
    const known = new Set(columns.map((name) => name.slice(PREFIX.length)));
    const ordered = (Array.isArray(logged) ? logged.map(String) : []).filter((name) => known.has(name));
    for (const name of [...ordered, ...known]) if (!out.includes(name)) out.push(name);
  }
  return out;
}

export function Layers({ model, data, runs }: LayersProps): JSX.Element {
  const layers = layersOf(data, runs);
  const current = model.currentStep();
  const valuesOf = (run: RunState, layer: string): number | null => {
    const timeline = data.timeline(run);
    if (timeline === null || current === null) return null;
    return column(timeline, PREFIX + layer)[indexAtOrBefore(timeline.steps, current)] ?? null;
  };
  const rows = layers.map((layer) => ({ layer, values: runs.map((run) => valuesOf(run, layer)) }));
  const sizes = rows.flatMap((row) => row.values.map((value) => (value === null ? 0 : Math.abs(value))));
  const largest = sizes.reduce((a, b) => Math.max(a, b), 1);
  const negative = rows.some((row) => row.values.some((value) => value !== null && value < 0));
  return (
    <section class="layers" aria-label="Relevance by layer">
      <h3 title="Sum of relevance at each layer's output over the explained logit: 1 where nothing is lost or created">
        Relevance by layer <span class="aside">sum / logit, input first</span>
      </h3>
      {layers.length === 0 ? (
        <p class="aside wrap">
          Not logged. <code>LRPMonitor(…, relevance_layers="all")</code> keeps it.
        </p>
      ) : (
        <ol data-testid="layers">
          {rows.map(({ layer, values }) => (
            <li key={layer} data-layer={layer}>
              <span class="layer-name" title={layer}>
                <bdi>{layer}</bdi>
              </span>
              <span class="layer-bars">
                {values.map((value, i) => (
                  <Bar key={i} value={value} largest={largest} negative={negative} run={runs[i]!} />
                ))}
              </span>
              <span class="layer-values">
                {values.map((value, i) => (
                  <span key={i}>{number(value)}</span>
                ))}
              </span>
            </li>
          ))}
        </ol>
      )}
    </section>
  );
}

interface BarProps {
  value: number | null;
  largest: number;
  negative: boolean;
  run: RunState;
}

/** A bar from zero, which lies in the middle where any value is negative. */
function Bar({ value, largest, negative, run }: BarProps): JSX.Element {
  const share = value === null ? 0 : (100 * value) / largest;
  const style = negative
    ? { left: `${share < 0 ? 50 + share / 2 : 50}%`, width: `${Math.abs(share) / 2}%` }
    : { left: "0", width: `${share}%` };
  return (
    <span class="layer-bar">
      <span style={{ ...style, background: runColour(run.order) }} />
    </span>
  );
}
