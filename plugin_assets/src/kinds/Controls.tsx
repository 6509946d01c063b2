// What is chosen for probes that are no pictures: the slice of volumes, the order of features.
import type { JSX } from "preact";
import type { ProbeNames } from "../data/types";
import type { Model } from "../state/model";
import { adopt } from "../ui/sheets";
import css from "./controls.css";
import { sliceAt, slicesOf } from "../data/source";

export function KindControls({ model, probes }: { model: Model; probes: ProbeNames }): JSX.Element | null {
  adopt(css);
  const depth = slicesOf(probes);
  const hasTable = (probes.inputs ?? []).some(({ kind }) => kind === "table");
  if (depth < 2 && !hasTable) return null;
  const { slice, features } = model.view;
  const at = sliceAt(slice, depth);
  return (
    <div class="kind-controls">
      {depth > 1 && (
        <label>
          Slice{" "}
          <input
            type="range"
            class="plain"
            min="0"
            max={depth - 1}
            step="1"
            value={at}
            data-testid="slice"
            onInput={(event) => model.setView({ slice: Number(event.currentTarget.value) / (depth - 1) })}
          />{" "}
          <span class="aside" data-testid="slice-number">
            {at} of 0 … {depth - 1}
          </span>
        </label>
      )}
      {hasTable && (
        <label>
          <input
            type="checkbox"
            checked={features === "given"}
            data-testid="features-given"
            onInput={(event) => model.setView({ features: event.currentTarget.checked ? "given" : "relevance" })}
          />{" "}
          Features in their own order
        </label>
      )}
    </div>
  );
}
