// One probe large: its input and, for each chosen run, the heatmap of the slider's step.
import type { JSX } from "preact";
import type { ProbePictures } from "../decode";
import type { RunState } from "../jobs";
import type { Model } from "../model";
import type { ProbeNames } from "../types";
import { ProbeCard } from "../ui/ProbeCard";

export interface ProbeViewProps {
  model: Model;
  /** The chosen runs that watch this probe set, at least one; their `info` is there. */
  runs: RunState[];
  probes: ProbeNames;
  /** Place of the probe in the set. */
  index: number;
  /** Inputs and masks of the set; null while they load. */
  pictures: ProbePictures | null;
  close: () => void;
}

export function ProbeView({ model, runs, probes, index, pictures, close }: ProbeViewProps): JSX.Element {
  const name = probes.names[index] ?? "";
  return (
    <section class="grid-area probe-view" data-testid="probe-view" aria-label={name}>
      <button type="button" data-testid="probe-close" onClick={close}>
        Back to all probes
      </button>
      <div class="cards" style={{ "--maps": String(runs.length + 1) }}>
        <ProbeCard
          model={model}
          runs={runs}
          probes={probes}
          index={index}
          name={name}
          picture={pictures?.pictures[index] ?? null}
          outline={[]}
        />
      </div>
    </section>
  );
}
