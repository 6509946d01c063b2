// Finds the probe that the URL names among the chosen runs and hands it to its large view.
import type { JSX } from "preact";
import type { Model } from "../model";
import { ProbeView } from "../probe/ProbeView";

export function OpenedProbe({ model }: { model: Model }): JSX.Element {
  const { probe } = model.view;
  const close = (): void => model.setView({ probe: null });
  const runs = model.selected().filter((run) => run.info !== null && run.info.probes.hash === probe?.hash);
  const probes = runs[0]?.info?.probes;
  if (!probes || probe === null || probe.index >= probes.names.length) {
    const loading = model.runs === null || model.selected().some((run) => run.info === null && run.error === null);
    return (
      <div class="grid-area hint" role={loading ? undefined : "alert"}>
        <p>{loading ? "Loading the probe …" : "None of the chosen runs has the probe that this link names."}</p>
        <button type="button" data-testid="probe-close" onClick={close}>
          Show all probes
        </button>
      </div>
    );
  }
  const pictures = model.picturesOf(runs[0]!);
  return (
    <ProbeView
      model={model}
      runs={runs}
      probes={probes}
      index={probe.index}
      pictures={pictures instanceof Error ? null : pictures}
      close={close}
    />
  );
}
