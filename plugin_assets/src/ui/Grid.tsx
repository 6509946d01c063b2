// The grid of probes; where chosen runs watch different probes, one grid a probe set.
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { planeOf, type ProbePictures } from "../decode";
import { plural } from "../format";
import type { RunState } from "../jobs";
import type { Model } from "../model";
import { outlinePath } from "../outline";
import type { ProbeNames } from "../types";
import type { MaskOutline } from "./canvases";
import { useSize } from "./hooks";
import { ProbeCard } from "./ProbeCard";

/** Width of a map on the page in pixels, about: cards stretch or shrink a little to fill their row. */
const CELL = { s: 108, m: 140, l: 220 } as const;
/** Below this a caption would not fit. */
const LEAST_CELL = 102;
const MOST_STRETCH = 1.5;
const GAP = 12;
const CARD_EDGES = 2 * (12 + 1);

/** Cards side by side in `width`, and the width of one, so that its `maps` maps come near to `cell` pixels. */
export function cardLayout(width: number, maps: number, cell: number): { columns: number; card: number } {
  const cardOf = (size: number): number => maps * (size + GAP) - GAP + CARD_EDGES;
  let columns = Math.max(1, Math.round((width + GAP) / (cardOf(cell) + GAP)));
  while (columns > 1 && (width + GAP) / columns - GAP < cardOf(LEAST_CELL)) columns--;
  const card = Math.min((width + GAP) / columns - GAP, cardOf(MOST_STRETCH * cell));
  return { columns, card: Math.floor(card) };
}

export function Grid({ model }: { model: Model }): JSX.Element {
  const runs = model.selected();
  if (model.runs !== null && runs.length === 0) {
    return <div class="grid-area hint">Choose a run on the left to see its heatmaps.</div>;
  }
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
  const groups = new Map<string, RunState[]>();
  for (const run of ready) {
    const hash = run.info!.probes.hash;
    groups.set(hash, [...(groups.get(hash) ?? []), run]);
  }
  return (
    <div class="grid-area" data-testid="grid" tabIndex={-1}>
      {[...groups].map(([hash, members]) => (
        <ProbeGroup key={hash} model={model} runs={members} titled={groups.size > 1} />
      ))}
    </div>
  );
}

interface GroupProps {
  model: Model;
  runs: RunState[];
  titled: boolean;
}

function ProbeGroup({ model, runs, titled }: GroupProps): JSX.Element {
  const probes = runs[0]!.info!.probes;
  const loaded = model.picturesOf(runs[0]!);
  const pictures = loaded instanceof Error ? null : loaded;
  const outlines = useOutlines(pictures, probes);
  const { height, width } = planeOf(probes.map_shape);
  const [ref, available] = useSize<HTMLDivElement>();
  const maps = runs.length + (model.view.show === "pair" ? 1 : 0);
  const { columns, card } = cardLayout(available, maps, CELL[model.view.size]);
  const style = {
    "--maps": String(maps),
    "--aspect": `${width} / ${height}`,
    gridTemplateColumns: `repeat(${columns}, ${card}px)`,
  };
  return (
    <section class="group" aria-label={runs.map((run) => run.listing.name).join(", ")}>
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
      <div class="cards" ref={ref} style={style}>
        {available > 0 && probes.names.map((name, index) => (
          <ProbeCard
            key={index}
            model={model}
            runs={runs}
            probes={probes}
            index={index}
            name={name}
            picture={pictures?.pictures[index] ?? null}
            outline={model.view.outlines ? (outlines[index] ?? []) : []}
          />
        ))}
      </div>
    </section>
  );
}

function useOutlines(pictures: ProbePictures | null, probes: ProbeNames): MaskOutline[][] {
  return useMemo(() => {
    if (!pictures) return [];
    return probes.names.map((_, index) =>
      [...pictures.masks].map(([mask, masks]) => ({
        mask,
        path: outlinePath(masks[index]!, pictures.mapHeight, pictures.mapWidth),
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
