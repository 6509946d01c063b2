// Which probes are shown, in which order and in which groups.
import type { JSX } from "preact";
import { className } from "../data/format";
import { hasLabels, labelsOf } from "../data/labels";
import type { Model } from "../state/model";
import { sortings } from "../state/selection";
import type { ProbeNames } from "../data/types";
import { Choice, Segments, Tick } from "./fields";
import { Fold } from "./Fold";

export function Filters({ model }: { model: Model }): JSX.Element | null {
  const runs = model.selected().filter((run) => run.info !== null);
  const probes = runs[0]?.info?.probes;
  if (!probes) return null;
  const { view } = model;
  const clustered = runs.some((run) => run.clusters.size > 0);
  return (
    <Fold title="Probes">
      <input
        type="text"
        class="search"
        placeholder="Search names"
        aria-label="Search probe names"
        value={view.search}
        data-testid="search"
        onInput={(event) => model.setView({ search: event.currentTarget.value })}
      />
      {hasLabels(probes) && (
        <>
          <Classes model={model} probes={probes} />
          <Segments
            name="Prediction at this step"
            value={view.answers}
            options={[
              ["all", "Any"],
              ["right", "Right"],
              ["wrong", "Wrong"],
            ]}
            choose={(answers) => model.setView({ answers })}
          />
        </>
      )}
      <Choice name="Order" testid="sort" value={view.sort} options={sortings(probes)} choose={(sort) => model.setView({ sort })} />
      {(clustered || view.clusters) && (
        <Tick testid="clusters" checked={view.clusters} choose={(clusters) => model.setView({ clusters })}>
          Group by cluster
        </Tick>
      )}
    </Fold>
  );
}

const MOST_CHIPS = 12;

/** A chip per class that probes have; with many classes a menu of one. */
function Classes({ model, probes }: { model: Model; probes: ProbeNames }): JSX.Element | null {
  const classes = [...new Set(probes.names.flatMap((_, index) => labelsOf(probes, index)))].sort((a, b) => a - b);
  const { classes: chosen } = model.view;
  if (classes.length < 2) return null;
  if (classes.length > MOST_CHIPS) {
    const value = chosen?.length === 1 ? String(chosen[0]) : chosen === null ? "all" : "some";
    const options: [string, string][] = [["all", "all"], ...classes.map((label): [string, string] => [String(label), className(probes, label)])];
    if (value === "some") options.push(["some", `${chosen!.length} classes`]);
    const choose = (key: string): void => model.setView({ classes: key === "all" ? null : key === "some" ? chosen : [Number(key)] });
    return <Choice name="Label" testid="classes" value={value} options={options} choose={choose} />;
  }
  const on = new Set(chosen ?? classes);
  const toggle = (label: number): void => {
    // The first click on one of all shows it alone; the last one that is taken away brings all back.
    const next = chosen === null ? [label] : on.has(label) ? chosen.filter((other) => other !== label) : [...chosen, label];
    const all = next.length === 0 || next.length === classes.length;
    model.setView({ classes: all ? null : next.sort((a, b) => a - b) });
  };
  return (
    <div class="chips" role="group" aria-label="Labels" data-testid="classes">
      {classes.map((label) => (
        <button
          key={label}
          type="button"
          class={chosen !== null && on.has(label) ? "chip on" : "chip"}
          aria-pressed={chosen !== null && on.has(label)}
          title={className(probes, label)}
          onClick={() => toggle(label)}
        >
          <bdi>{className(probes, label)}</bdi>
        </button>
      ))}
    </div>
  );
}
