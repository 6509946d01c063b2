// Finds the probe that the URL names among the chosen runs and hands it to its large view, loaded when first asked for.
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { Model } from "../state/model";
import type { ProbeView } from "../probe/ProbeView";

type Loaded = { View: typeof ProbeView } | Error | null;
let loaded: Loaded = null;

function useProbeView(): Loaded {
  const [now, setNow] = useState<Loaded>(loaded);
  useEffect(() => {
    if (now !== null) return;
    import("../probe/ProbeView").then(
      ({ ProbeView: View }) => setNow((loaded = { View })),
      (error: unknown) => setNow(error instanceof Error ? error : new Error(String(error))),
    );
  }, []);
  return now;
}

export function OpenedProbe({ model }: { model: Model }): JSX.Element {
  const { probe } = model.view;
  const code = useProbeView();
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
      <div class="grid-area hint" role={code ? "alert" : undefined}>
        <p>{code ? `This part of the page could not be loaded (${code.message}): reload the page.` : "Loading the probe …"}</p>
        <button type="button" data-testid="probe-close" onClick={close}>
          Show all probes
        </button>
      </div>
    );
  }
  const pictures = model.picturesOf(runs[0]!);
  return (
    <code.View
      model={model}
      runs={runs}
      probes={probes}
      index={probe.index}
      pictures={pictures instanceof Error ? null : pictures}
      close={close}
    />
  );
}
