// One probe large: a filmstrip of all steps, its heatmaps, what it is taken for over time, layers and channels, files.
import type { JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { ProbePictures } from "../data/decode";
import { planeOf } from "../data/decode";
import { className } from "../data/format";
import type { RunState } from "../data/run";
import { KindControls } from "../kinds/Controls";
import { isPicture, sourcesOf } from "../data/source";
import type { Model } from "../state/model";
import { outlinePath } from "../paint/outline";
import { logState } from "../data/timelines";
import type { ProbeNames, Timeline } from "../data/types";
import { ProbeCard } from "../ui/ProbeCard";
import { adopt } from "../ui/sheets";
import { Channels } from "./Channels";
import { labelMapOf, labelText } from "../data/labels";
import { useProbeData, type ProbeData } from "./probedata";
import { ExportMenu } from "./ExportMenu";
import { Filmstrip } from "./Filmstrip";
import { Layers } from "./Layers";
import { OverTime, type Line } from "./OverTime";
import css from "./probe.css";

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
  adopt(css);
  const data = useProbeData(model, index);
  const [inView, setInView] = useState<readonly number[]>([]);
  const shown = runs.map((run) => run.frame?.header.step ?? null);
  useEffect(() => {
    data.want(runs, inView, shown);
  }, [data, inView, ...shown, runs.length, ...runs.map((run) => run.steps), ...runs.map(({ listing }) => logState(listing))]);
  const back = useRef<HTMLButtonElement>(null);
  useEffect(() => back.current?.focus(), []);
  const go = (by: number): void => {
    const next = index + by;
    if (next >= 0 && next < probes.names.length) model.setView({ probe: { hash: probes.hash, index: next } });
  };
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      if (event.key !== "PageUp" && event.key !== "PageDown") return;
      go(event.key === "PageUp" ? -1 : 1);
      event.preventDefault();
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, [index, probes.hash]);
  const outline = useMemo(
    () =>
      pictures === null || !model.view.outlines
        ? []
        : [...pictures.masks].map(([mask, masks]) => ({
            mask,
            path: outlinePath(masks[index], pictures.mapHeight, pictures.mapWidth),
          })),
    [pictures, index, model.view.outlines],
  );
  const name = probes.names[index] ?? "";
  const label = labelText(probes, index);
  const { height, width } = planeOf(probes.map_shape);
  const sources = isPicture(probes) ? null : sourcesOf(probes, pictures, index);
  const maps = runs.length + (model.view.show === "overlay" || model.view.show === "heatmap" || sources ? 0 : 1);
  const lines = linesOf(data, runs, probes);
  const asked = lines.probability[0]?.column ?? "probability";
  const failures = runs.map((run) => data.failure(run)).filter((failure) => failure !== null);
  return (
    <section class="probe-view" data-testid="probe-view" aria-label={`Probe ${name}`}>
      <header class="probe-head">
        <button type="button" ref={back} data-testid="probe-close" onClick={close} title="Back to all probes (Escape)">
          ‹ All probes
        </button>
        <button type="button" data-testid="probe-previous" aria-label="Previous probe" title="Previous probe (Page up)" disabled={index === 0} onClick={() => go(-1)}>
          ↑
        </button>
        <button
          type="button"
          data-testid="probe-next"
          aria-label="Next probe"
          title="Next probe (Page down)"
          disabled={index === probes.names.length - 1}
          onClick={() => go(1)}
        >
          ↓
        </button>
        <h2 title={name}>
          <bdi>{name}</bdi>
        </h2>
        <span class="aside">
          {index + 1} of {probes.names.length}
          {label !== null && (
            <>
              , label <bdi>{label}</bdi>
            </>
          )}
        </span>
        <ExportMenu of={{ model, data, runs, probes, index, pictures }} milliseconds={1000 / Number(model.view.speed)} />
      </header>
      {failures.length > 0 && (
        <p class="trouble" role="alert">
          {failures[0]}
        </p>
      )}
      <Filmstrip model={model} data={data} runs={runs} probes={probes} index={index} picture={pictures?.pictures[index] ?? null} sources={sources} inView={setInView} />
      <div class="probe-body">
        <div class="probe-left">
          <KindControls model={model} probes={probes} />
          <div
            class="probe-large"
            style={{
              "--maps": String(maps),
              "--aspect": `${width} / ${height}`,
              maxWidth: sources ? undefined : `${55 * maps * Math.max(0.6, width / height)}vh`,
            }}
          >
            <ProbeCard
              near={true}
              model={model}
              runs={runs}
              probes={probes}
              index={index}
              name={name}
              picture={pictures?.pictures[index] ?? null}
              sources={sources}
              outline={outline}
              labels={labelMapOf(probes, pictures, index)}
              size="large"
            />
          </div>
          <Channels model={model} data={data} runs={runs} sources={sources} pictureChannels={pictures?.pictures[index]?.channels ?? 1} />
        </div>
        <div class="probe-right">
          <OverTime
            model={model}
            title={TITLES[asked] ?? `Probability of ${targetName(data, runs, probes)}, and what is predicted`}
            testid="over-probability"
            lines={lines.probability}
            share={asked === "probability" || asked === "label_accuracy"}
            bands={asked === "probability" ? { probes, index } : undefined}
          />
          {lines.masses.length > 0 && (
            <OverTime
              model={model}
              title="Relevance inside the masks"
              testid="over-mass"
              lines={lines.masses}
              share
              limits={limitsOf(runs, probes)}
            />
          )}
          <Layers model={model} data={data} runs={runs} />
        </div>
      </div>
    </section>
  );
}

function linesOf(data: ProbeData, runs: readonly RunState[], probes: ProbeNames): { probability: Line[]; masses: Line[] } {
  const probability: Line[] = [];
  const masses: Line[] = [];
  for (const run of runs) {
    const timeline = data.timeline(run);
    if (timeline === null) continue;
    probability.push({ run, timeline, column: askedOf(timeline), of: "", order: 0 });
    probes.masks.forEach((mask, order) => {
      const rows = timeline.probes[`mask_mass/${mask}`];
      // A probe without this mask has no share in it at any step, of positive relevance or of all.
      const has = [rows, timeline.probes[`mask_absolute/${mask}`]].some((column) => column?.some((values) => typeof values[0] === "number"));
      if (!has) return;
      masses.push({ run, timeline, column: `mask_mass/${mask}`, of: probes.masks.length > 1 ? mask : "", missing: "undefined", order });
    });
  }
  return { probability, masses };
}

const TITLES: Record<string, string> = { output: "Prediction", label_accuracy: "Share of the labels that are right", logit: "Sum of the explained logits" };

/** The column with how well a probe is known: of a region, which has no probability, its labels or its logits. */
function askedOf({ probes }: Timeline): string {
  if (probes.output !== undefined) return "output";
  if (probes.probability !== undefined) return "probability";
  return probes.label_accuracy !== undefined ? "label_accuracy" : probes.logit !== undefined ? "logit" : "probability";
}

/** The limits at which the callback raises an alert, as the runs noted them. */
function limitsOf(runs: readonly RunState[], probes: ProbeNames): { value: number; text: string }[] {
  const out = new Map<string, number>();
  for (const run of runs) {
    const alerts = run.info?.meta.alerts;
    if (typeof alerts !== "object" || alerts === null) continue;
    for (const [mask, limit] of Object.entries(alerts)) {
      if (typeof limit === "number" && probes.masks.includes(mask)) out.set(`Alert above this share of “${mask}”`, limit);
    }
  }
  return [...out].map(([text, value]) => ({ text, value }));
}

function targetName(data: ProbeData, runs: readonly RunState[], probes: ProbeNames): string {
  for (const run of runs) {
    const rows = data.timeline(run)?.probes.target;
    const target = rows?.[rows.length - 1]?.[0];
    if (typeof target === "number") return className(probes, target);
  }
  return "the explained class";
}
