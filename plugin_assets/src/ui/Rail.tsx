// Left rail: which view, which runs, and below them what is loaded behind the first view.
import type { JSX } from "preact";
import type { Model } from "../state/model";
import { useLazy } from "./lazy";
import { Pages } from "./pages";
import { Runs } from "./Runs";

const load = () => import("./Settings");

export function Rail({ model }: { model: Model }): JSX.Element {
  const settings = useLazy(load);
  return (
    <aside class="rail">
      <h1 class="hidden">LRP heatmaps over training</h1>
      <Pages model={model} />
      <Runs model={model} />
      {settings === null && <p aria-busy="true" />}
      {settings instanceof Error && <p class="trouble" role="alert">The settings could not be loaded ({settings.message}): reload the page.</p>}
      {settings !== null && !(settings instanceof Error) && <settings.Settings model={model} />}
    </aside>
  );
}
