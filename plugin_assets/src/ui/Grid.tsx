// The grid of probes; where chosen runs watch different probes, one grid a probe set.
import type { JSX } from "preact";
import { useMemo, useRef } from "preact/hooks";
import { planeOf, type ProbePictures } from "../data/decode";
import { plural, short } from "../data/format";
import { labelMapOf } from "../data/labels";
import type { RunState } from "../data/run";
import { isPicture, sourcesOf } from "../data/source";
import type { Model } from "../state/model";
import { outlinePath } from "../paint/outline";
import { clustersAt, selectProbes, type ProbeGroup } from "../state/selection";
import type { ProbeNames } from "../data/types";
import type { MaskOutline } from "./canvases";
import { useSize } from "./hooks";
import { useInView } from "./inview";
import { Later } from "./Later";
import { cardHeight, cardLayout, cellSize, mapsInRow } from "./layout";
import { useMapPointer, type Pointed } from "./pointer";
import { later, useLazy } from "./lazy";
import { Card, ProbeCard, type CardProps } from "./ProbeCard";

const KindControls = later<{ model: Model; probes: ProbeNames }>(() => import("../kinds/Controls").then((code) => code.KindControls));
const Readout = later<{ model: Model; pointed: Pointed }>(() => import("./Readout").then((code) => code.Readout));

/** How many times as wide as pictures texts, tables and curves are. */
const WIDE = 1.9;
const NO_OUTLINES: readonly MaskOutline[] = [];

export function Grid({ model }: { model: Model }): JSX.Element {
  const runs = model.selected();
  if (model.runs !== null && runs.length === 0) return <NoRun model={model} />;
  const ready = runs.filter((run) => run.info !== null);
  const failed = runs.filter((run) => run.error !== null || run.listing.error !== undefined);
  if (ready.length === 0 && failed.length > 0) {
    return (
      <div class="grid-area hint" role="alert">
        {failed.map((run) => (
          <p key={run.listing.run}>
            <bdi>{run.listing.name}</bdi>: {run.error ?? run.listing.error}
          </p>
        ))}
        <button type="button" onClick={() => model.retry()}>
          Try again
        </button>
      </div>
    );
  }
  if (ready.length === 0) return <Skeleton />;
  // A run whose steps are still to come has its place from the beginning, where it watches probes that are known.
  const known = new Set(ready.map(hashOf));
  return <Maps model={model} runs={runs.filter((run) => run.info !== null || (!failed.includes(run) && known.has(hashOf(run))))} />;
}

const hashOf = (run: RunState): string => run.info?.probes.hash ?? run.listing.probes_hash ?? "";

/** Says what to do without a chosen run, and which ones a link names that are not here. */
function NoRun({ model }: { model: Model }): JSX.Element {
  const gone = model.view.runs ?? [];
  if (gone.length === 0) return <div class="grid-area hint">Choose a run on the left to see its heatmaps.</div>;
  return (
    <div class="grid-area hint" role="alert" data-testid="gone">
      <p>
        This page’s address names runs that are not in the log directory (any more): <bdi>{gone.map((name) => short(name, 60)).join(", ")}</bdi>
      </p>
      <button type="button" onClick={() => model.setView({ runs: null })}>
        Show the runs that are there
      </button>
    </div>
  );
}

function Maps({ model, runs }: { model: Model; runs: RunState[] }): JSX.Element {
  const area = useRef<HTMLDivElement>(null);
  const pointed = useMapPointer(model, area);
  const groups = new Map<string, RunState[]>();
  for (const run of runs) {
    const hash = hashOf(run);
    groups.set(hash, [...(groups.get(hash) ?? []), run]);
  }
  return (
    <div class={`grid-area${model.view.zoom ? " zoomed" : ""}`} data-testid="grid" tabIndex={-1} ref={area}>
      {[...groups].map(([hash, members]) => (
        <ProbeSet key={hash} model={model} runs={members} titled={groups.size > 1} />
      ))}
      {pointed !== null && <Readout model={model} pointed={pointed} />}
    </div>
  );
}

interface SetProps {
  model: Model;
  runs: RunState[];
  titled: boolean;
}

function ProbeSet({ model, runs, titled }: SetProps): JSX.Element {
  const lead = runs.find((run) => run.info !== null)!;
  const probes = lead.info!.probes;
  const loaded = model.picturesOf(lead);
  const pictures = loaded instanceof Error ? null : loaded;
  const outlines = useOutlines(pictures, probes);
  const [ref, available] = useSize<HTMLDivElement>();
  const clusters = runs.map((run) => clustersAt(run.clusters, model.currentStep())).find((known) => known !== null) ?? null;
  const groups = useSelection(model, runs, probes, clusters?.of ?? null);
  const found = clusters && clusters.step !== model.currentStep() ? clusters.step : null;
  const order = groups.flatMap((group) => group.probes);
  const size = available > 0;
  useInView(model, ref, probes.hash, order, runs.length, JSON.stringify([size, model.view.show === "film", groups]));
  return (
    <section class="group" data-hash={probes.hash} aria-label={runs.map((run) => run.listing.name).join(", ")} ref={ref}>
      {titled && (
        <h2>
          {plural(probes.names.length, "probe")} of <bdi>{runs.map((run) => run.listing.name).join(", ")}</bdi>
        </h2>
      )}
      {loaded instanceof Error && (
        <p class="trouble" role="alert">
          The inputs could not be loaded: {loaded.message}
        </p>
      )}
      {!isPicture(probes) && <KindControls model={model} probes={probes} />}
      {order.length === 0 && <NoneLeft model={model} />}
      {size &&
        groups.map(({ cluster, probes: members }) => (
          <Cluster key={String(cluster)} cluster={cluster} count={members.length} found={found}>
            <Cards model={model} lead={lead} runs={runs} probes={probes} members={members} pictures={pictures} outlines={outlines} width={available} />
          </Cluster>
        ))}
    </section>
  );
}

interface CardsProps {
  model: Model;
  /** One of the runs whose probes are known. */
  lead: RunState;
  runs: RunState[];
  probes: ProbeNames;
  members: readonly number[];
  pictures: ProbePictures | null;
  outlines: MaskOutline[][];
  width: number;
}

function Cards({ model, lead, runs, probes, members, pictures, outlines, width }: CardsProps): JSX.Element {
  const { view } = model;
  const film = view.show === "film";
  const plane = planeOf(probes.map_shape);
  const picture = isPicture(probes);
  const all = runs.length + (view.show === "pair" && picture ? 1 : 0);
  const cell = cellSize(view.size, width) * (picture ? 1 : WIDE);
  const maps = mapsInRow(width, all, cell);
  const { columns, card } = cardLayout(width, maps, cell);
  const style = {
    "--maps": String(maps),
    "--aspect": `${plane.width} / ${plane.height}`,
    "--card-height": `${cardHeight(card, maps, Math.ceil(all / maps), picture ? plane.height / plane.width : 0.5, probes.masks.length)}px`,
    gridTemplateColumns: film ? "minmax(0, 1fr)" : `repeat(${columns}, ${card}px)`,
  };
  const Each = film ? FilmCard : ProbeCard;
  const seen = model.seen(lead);
  const [shown, near] = [new Set(seen?.shown), new Set(seen?.near)];
  return (
    <div class="cards" style={style}>
      {members.map((index) => (
        <Later key={index} now={shown.has(index)} busy={!model.isComplete()}>
          {() => (
            <Each
              model={model}
              runs={runs}
              probes={probes}
              near={near.has(index)}
              index={index}
              name={probes.names[index]!}
              picture={pictures?.pictures[index] ?? null}
              sources={picture ? null : sourcesOf(probes, pictures, index)}
              labels={labelMapOf(probes, pictures, index)}
              outline={view.outlines ? (outlines[index] ?? NO_OUTLINES) : NO_OUTLINES}
            />
          )}
        </Later>
      ))}
    </div>
  );
}

const loadFilm = () => import("./Film");

/** A probe through training, by code that is loaded when it is first asked for. */
function FilmCard({ near, ...rest }: CardProps): JSX.Element {
  const code = useLazy(loadFilm);
  return (
    <Card kind=" film" near={near && code !== null} {...rest}>
      {code instanceof Error && <p class="trouble" role="alert">The film could not be loaded ({code.message})</p>}
      {near && code !== null && !(code instanceof Error) && <code.Film {...rest} />}
    </Card>
  );
}

/** The probes to show. While the slider moves they keep their places, so that one can follow a probe with the eye. */
function useSelection(model: Model, runs: RunState[], probes: ProbeNames, known: readonly number[] | null): ProbeGroup[] {
  const { classes, answers, search, sort, clusters } = model.view;
  const choice = JSON.stringify([classes, answers, search, sort, clusters, runs.map((run) => run.listing.run)]);
  const kept = useRef<{ choice: string; ready: boolean; groups: ProbeGroup[] } | null>(null);
  const ready = runs.every((run) => run.frame !== null);
  const settled = model.still && runs.every((run) => model.isSettled(run));
  if (kept.current?.choice !== choice || kept.current.ready !== ready || settled) {
    const headers = runs.map((run) => run.frame?.header ?? null);
    // Chips are of the first set's classes: in another set the same number may be another class.
    const of = model.selected().find((run) => run.info !== null)?.info?.probes ?? probes;
    kept.current = { choice, ready, groups: selectProbes(probes, headers, model.view, known, of) };
  }
  return kept.current.groups;
}

interface ClusterProps {
  cluster: number | null;
  count: number;
  /** The step at which the clusters were found, where it is not the one that is shown. */
  found: number | null;
  children: JSX.Element;
}

/** Probes whose heatmaps look alike at this step, behind a stripe in the cluster's colour. */
function Cluster({ cluster, count, found, children }: ClusterProps): JSX.Element {
  if (cluster === null) return children;
  const title = cluster < 0 ? "Without a cluster" : `Cluster ${cluster + 1}`;
  return (
    <section class="cluster" data-testid={`cluster-${cluster}`} style={{ "--cluster": clusterColour(cluster) }} aria-label={title}>
      <h2>
        {title} <span class="aside">{plural(count, "probe")}{found !== null && ` · heatmaps grouped at step ${found}`}</span>
      </h2>
      {children}
    </section>
  );
}

/** Hues that are far apart for neighbours: the golden angle. */
const clusterColour = (cluster: number): string =>
  cluster < 0 ? "var(--border)" : `hsl(${Math.round((40 + 137.5 * cluster) % 360)} 60% 50%)`;

function NoneLeft({ model }: { model: Model }): JSX.Element {
  return (
    <div class="none-left" data-testid="none-left">
      <p>No probe fits the filter at this step.</p>
      <button type="button" onClick={() => model.setView({ classes: null, answers: "all", search: "" })}>
        Show all probes
      </button>
    </div>
  );
}

function useOutlines(pictures: ProbePictures | null, probes: ProbeNames): MaskOutline[][] {
  return useMemo(() => {
    if (!pictures) return [];
    return probes.names.map((_, index) =>
      [...pictures.masks].map(([mask, masks]) => ({
        mask,
        path: outlinePath(masks[index], pictures.mapHeight, pictures.mapWidth),
      })),
    );
  }, [pictures, probes.hash]);
}

function Skeleton(): JSX.Element {
  return (
    <div class="grid-area" aria-busy="true" aria-label="Loading heatmaps">
      <div class="cards waiting">
        {Array.from({ length: 6 }, (_, i) => (
          <div key={i} class="probe skeleton block" />
        ))}
      </div>
    </div>
  );
}
