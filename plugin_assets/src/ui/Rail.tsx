// Left rail: which runs, which probes, how heatmaps are drawn, and what the chosen runs are.
import type { JSX } from "preact";
import type { Model } from "../state/model";
import { About } from "./About";
import { Curves } from "./Curves";
import { Display } from "./Display";
import { Filters } from "./Filters";
import { Pages } from "./pages";
import { Runs } from "./Runs";
import { Share } from "./Share";

export function Rail({ model }: { model: Model }): JSX.Element {
  return (
    <aside class="rail">
      <h1 class="hidden">LRP heatmaps over training</h1>
      <Pages model={model} />
      <Runs model={model} />
      <Filters model={model} />
      <Display model={model} />
      <Curves model={model} />
      <Share model={model} />
      <About model={model} />
    </aside>
  );
}
