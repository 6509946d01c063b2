// The maps of a step by input channel, on one scale for all channels of a run.
import { Fragment, type JSX } from "preact";
import { useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { hasServer } from "../data/api";
import { layOut, mapValues, planeOf, type HeatMap } from "../data/decode";
import { percent } from "../data/format";
import type { RunState } from "../data/run";
import { cut, sizeOf, type Source } from "../data/source";
import type { Model } from "../state/model";
import { Dot } from "../ui/Dot";
import type { ProbeData } from "./probedata";
import { put } from "../ui/canvases";
import { paintChannel, paintKey } from "./paint";

const COLOURS = ["Red", "Green", "Blue"] as const;

interface ChannelsProps {
  model: Model;
  data: ProbeData;
  runs: readonly RunState[];
  /** The inputs of the probe where it has several; null: its maps are those of one. */
  sources: readonly Source[] | null;
  /** Channels of the display image: three of them are colours. */
  pictureChannels: number;
}

/** The maps of an input alone, of those that have channels; all maps where there is one input. */
function partsOf(channels: readonly HeatMap[], sources: readonly Source[] | null): { name: string | null; maps: HeatMap[]; colours: number | null }[] {
  if (sources === null) return [{ name: null, maps: [...channels], colours: null }];
  return sources
    .filter(({ info }) => (info.channels ?? 1) > 1)
    .map(({ info, start, picture }) => {
      const { height, width, depth, columns } = planeOf(info.map_shape);
      const places = Uint32Array.from({ length: sizeOf(info.map_shape) }, (_, i) => start + i);
      const plane = { height, width, depth, columns };
      const maps = channels.slice(0, info.channels).map((map) => {
        const part = cut(map, places, height, width);
        return { ...part, data: layOut(part.data, plane, 0) } as HeatMap;
      });
      return { name: info.name, maps, colours: picture?.channels ?? 1 };
    });
}

export function Channels({ model, data, runs, sources, pictureChannels }: ChannelsProps): JSX.Element | null {
  const shown = runs.map((run) => {
    const step = run.frame?.header.step ?? null;
    return { run, step, channels: data.channelsOf(run, step) };
  });
  const none = shown.every(({ channels }) => channels?.length === 0);
  // Nothing to log where no input has channels.
  if (none && sources?.every(({ info }) => info.channels === 1)) return null;
  const several = sources !== null && sources.length > 1 ? sources : null;
  return (
    <section class="channels" aria-label="By channel">
      <h3>
        By input channel <span class="aside">one scale for the channels of a run</span>
      </h3>
      {none ? (
        <p class="aside wrap">
          {hasServer() ? "Not logged." : "Not in this file, or not logged."} <code>LRPMonitor(…, channels=True)</code> keeps it.
        </p>
      ) : (
        shown.map(({ run, step, channels }) => (
          <div key={run.listing.run} class="channel-row" data-testid="channels" data-run={run.listing.run}>
            {runs.length > 1 && <Dot run={run} title={run.listing.name} />}
            {channels !== null && channels.length === 0 && <span class="aside">not stored at step {step}</span>}
            {partsOf(channels ?? [], several).map(({ name, maps, colours }) => (
              <Fragment key={name}>
                {name !== null && maps.length > 0 && <bdi class="aside">{name}</bdi>}
                {maps.map((map, c) => (
                  <Channel key={c} model={model} run={run} step={step} channels={channels!} map={map} place={c} colours={(colours ?? pictureChannels) === 3 && maps.length === 3} input={name} />
                ))}
              </Fragment>
            ))}
          </div>
        ))
      )}
    </section>
  );
}

interface ChannelProps {
  model: Model;
  run: RunState;
  step: number | null;
  /** The maps of all inputs, whose scale and sum are shared. */
  channels: HeatMap[];
  map: HeatMap;
  place: number;
  colours: boolean;
  input: string | null;
}

function Channel({ model, run, step, channels, map, place, colours, input }: ChannelProps): JSX.Element {
  const ref = useRef<HTMLCanvasElement>(null);
  const share = useMemo(() => {
    const amount = (of: HeatMap): number => mapValues(of).reduce((sum, value) => sum + (Number.isFinite(value) ? Math.abs(value) : 0), 0);
    const total = channels.reduce((sum, of) => sum + amount(of), 0);
    return total > 0 ? amount(map) / total : null;
  }, [channels, map.data.length, place]);
  useLayoutEffect(() => {
    if (!ref.current) return;
    put(ref.current, paintChannel(model, channels, map), map.height, map.width);
    ref.current.dataset.painted = String(step);
  }, [channels, ...paintKey(model)]);
  const name = colours ? COLOURS[place]! : `Channel ${place}`;
  const of = input === null ? name : `${name} of ${input}`;
  return (
    <figure>
      <canvas ref={ref} role="img" aria-label={`Relevance of ${of} in ${run.listing.name} at step ${step}`} data-testid={`channel-${place}`} data-input={input} />
      <figcaption title="Share of all absolute relevance">
        {name} <strong>{percent(share)}</strong>
      </figcaption>
    </figure>
  );
}
