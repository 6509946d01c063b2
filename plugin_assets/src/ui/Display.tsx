// How heatmaps are drawn.
import type { JSX } from "preact";
import { COLOURS, type ColourName } from "../paint/colormap";
import type { Model } from "../state/model";
import type { Minus } from "../data/feed";
import { short } from "../data/format";
import { sharedParts, distinctPart } from "../state/names";
import { otherComposite } from "../state/shown";
import type { View } from "../state/view";
import { zoomAt } from "../state/zoom";
import { Choice, Segments, Tick } from "./fields";
import { Fold } from "./Fold";

const SCALES: [View["scale"], string][] = [
  ["map", "each map’s own maximum"],
  ["time", "the probe’s maximum over all steps"],
  ["all", "the maximum of all probes, steps and runs"],
];
const CLIPS: [View["clip"], string][] = [
  ["100", "the maximum"],
  ["99", "the 99th percentile"],
  ["90", "the 90th percentile"],
];
const GAMMAS: [View["gamma"], string][] = [
  ["1", "in proportion"],
  ["0.7", "raised a little (0.7)"],
  ["0.5", "raised (square root)"],
  ["2", "lowered (square)"],
];

const SOFT: [View["soft"], string][] = [
  ["0", "no: as logged"],
  ["1", "over 1 pixel"],
  ["2", "over 2 pixels"],
  ["4", "over 4 pixels"],
  ["8", "over 8 pixels"],
];

export function Display({ model }: { model: Model }): JSX.Element {
  const { view } = model;
  const set = (change: Partial<View>): void => model.setView(change);
  return (
    <Fold title="Display">
      <Segments
        name="Heatmaps"
        value={view.show}
        options={[
          ["pair", "Beside input"],
          ["overlay", "Over input"],
          ["heatmap", "Alone"],
          ["film", "Film"],
        ]}
        rows
        choose={(show) => set({ show })}
      />
      {view.show === "overlay" && (
        <label class="field">
          <span class="row">
            Opacity <span class="aside">{Math.round(100 * view.opacity)} %</span>
          </span>
          <input
            type="range"
            class="plain"
            min="0"
            max="100"
            value={Math.round(100 * view.opacity)}
            data-testid="opacity"
            onInput={(event) => set({ opacity: Number(event.currentTarget.value) / 100 })}
          />
        </label>
      )}
      <Difference model={model} />
      <Segments
        name="Size"
        value={view.size}
        options={[
          ["s", "Small"],
          ["m", "Medium"],
          ["l", "Large"],
        ]}
        choose={(size) => set({ size })}
      />
      <ZoomButtons model={model} />
      <Tick testid="outlines" checked={view.outlines} choose={(outlines) => set({ outlines })}>
        Outline the masks
      </Tick>
      <Choice
        name="Colours"
        testid="colours"
        value={view.colours}
        options={Object.entries(COLOURS).map(([key, { title }]) => [key as ColourName, title] as const)}
        choose={(colours) => set({ colours })}
      />
      <Choice name="Full colour stands for" testid="scale" value={view.scale} options={SCALES} choose={(scale) => set({ scale })} />
      <Choice name="Clipped at" testid="clip" value={view.clip} options={CLIPS} choose={(clip) => set({ clip })} />
      <Choice name="Smoothed maps" testid="soft" value={view.soft} options={SOFT} choose={(soft) => set({ soft })} />
      <Choice name="Weak relevance (gamma)" testid="gamma" value={view.gamma} options={GAMMAS} choose={(gamma) => set({ gamma })} />
    </Fold>
  );
}

/** A difference to a step that is pinned, or to one of the chosen runs. */
function Difference({ model }: { model: Model }): JSX.Element {
  const { minus } = model.view;
  const current = model.currentStep();
  const runs = model.selected();
  const choose = (key: string): void => {
    let next: Minus | null = null;
    if (key.startsWith("run:")) next = { run: key.slice(4) };
    else if (key === "pin" && current !== null) next = { step: current };
    else if (key === "step") next = minus;
    model.setView({ minus: next });
  };
  const shared = sharedParts(runs.map((run) => run.listing.name));
  const options: [string, string][] = [["none", "nothing"]];
  if (minus && "step" in minus) options.push(["step", `step ${minus.step} (pinned)`]);
  if (current !== null && !(minus && "step" in minus && minus.step === current)) options.push(["pin", `this step, ${current}: pin it`]);
  for (const run of runs.length > 1 ? runs : []) {
    const other = runs.some((one) => otherComposite(one, run) !== null);
    options.push([`run:${run.listing.run}`, `run ${short(distinctPart(run.listing.name, shared), 40)}${other ? ` (${run.info?.meta.composite ?? "other rules"})` : ""}`]);
  }
  const value = minus === null ? "none" : "step" in minus ? "step" : `run:${minus.run}`;
  if (!options.some(([key]) => key === value)) options.push([value, "a run that is not chosen"]);
  return (
    <>
      <Choice name={model.view.by === "difference" ? "Difference to" : "Compared with"} testid="minus" value={value} options={options} choose={choose} />
      {minus !== null && (
        <Segments
          name="Compared by"
          value={model.view.by}
          options={[
            ["difference", "Difference"],
            ["blink", "Blinking"],
            ["swipe", "Swipe"],
          ]}
          choose={(by) => model.setView({ by })}
        />
      )}
      {minus !== null && model.view.by === "swipe" && <SwipeLine />}
    </>
  );
}

/** Where the line stands; over a map the pointer moves it, too. */
function SwipeLine(): JSX.Element {
  const move = (share: string): void => document.querySelector<HTMLElement>("[data-testid=grid]")?.style.setProperty("--point-x", `${share}%`);
  return (
    <label class="field">
      Line, or the pointer over a map
      <input type="range" class="plain" min="0" max="100" defaultValue="50" data-testid="swipe-line" onInput={(event) => move(event.currentTarget.value)} />
    </label>
  );
}

function ZoomButtons({ model }: { model: Model }): JSX.Element {
  const { zoom } = model.view;
  const by = (factor: number): void => model.setView({ zoom: zoomAt(zoom, factor) });
  return (
    <div class="field choice" role="group" aria-label="Zoom of all maps">
      <span>Zoom</span>
      <span class="zoom" title="Also: ctrl + wheel over a map, drag to move, keys + − 0">
        <button type="button" aria-label="Zoom out" disabled={zoom === null} onClick={() => by(1 / 1.5)}>
          −
        </button>
        <button type="button" data-testid="zoom-reset" disabled={zoom === null} onClick={() => model.setView({ zoom: null })}>
          {`${(zoom?.times ?? 1).toFixed(1)} ×`}
          <span class="hidden">: show whole maps</span>
        </button>
        <button type="button" data-testid="zoom-in" aria-label="Zoom in" onClick={() => by(1.5)}>
          +
        </button>
      </span>
    </div>
  );
}
