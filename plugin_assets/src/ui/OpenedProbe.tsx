// Finds the probe that the URL names among the chosen runs and hands it to its large view, loaded when first asked for.
import type { JSX } from "preact";
import type { Model } from "../state/model";
import { Loading, useLazy } from "./lazy";

const load = () => import("../probe/ProbeView");

export function OpenedProbe({ model }: { model: Model }): JSX.Element {
  const { probe } = model.view;
  const code = useLazy(load);
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
  if (code === null || code instanceof Error) {
    return (
      <Loading part={code}>
        <button type="button" data-testid="probe-close" onClick={close}>
          Show all probes
        </button>
      </Loading>
    );
  }
  const pictures = model.picturesOf(runs[0]!);
  return (
    <code.ProbeView
      model={model}
      runs={runs}
      probes={probes}
      index={probe.index}
      pictures={pictures instanceof Error ? null : pictures}
      close={close}
    />
  );
}
