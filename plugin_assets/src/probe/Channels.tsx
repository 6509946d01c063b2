// The maps of a step by input channel, on one scale for all channels of a run.
import type { JSX } from "preact";
import { useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { mapValues, type HeatMap } from "../data/decode";
import { percent } from "../data/format";
import type { RunState } from "../data/jobs";
import type { Model } from "../state/model";
import { Dot } from "../ui/Dot";
import type { ProbeData } from "./data";
import { put } from "../ui/canvases";
import { paintChannels, paintKey } from "./paint";

const NAMES: Record<number, readonly string[]> = { 3: ["Red", "Green", "Blue"] };

interface ChannelsProps {
  model: Model;
  data: ProbeData;
  runs: readonly RunState[];
  /** Channels of the display image: three of them are colours. */
  pictureChannels: number;
}

export function Channels({ model, data, runs, pictureChannels }: ChannelsProps): JSX.Element {
  const shown = runs.map((run) => {
    const step = run.frame?.header.step ?? null;
    return { run, step, channels: data.channelsOf(run, step) };
  });
  const none = shown.every(({ channels }) => channels?.length === 0);
  return (
    <section class="channels" aria-label="By channel">
      <h3>
        By input channel <span class="aside">one scale for the channels of a run</span>
      </h3>
      {none ? (
        <p class="aside wrap">
          Not logged. <code>LRPMonitor(…, channels=True)</code> keeps it.
        </p>
      ) : (
        shown.map(({ run, step, channels }) => (
          <div key={run.listing.run} class="channel-row" data-testid="channels" data-run={run.listing.run}>
            {runs.length > 1 && <Dot run={run} title={run.listing.name} />}
            {channels !== null && channels.length === 0 && <span class="aside">not stored at step {step}</span>}
            {(channels ?? []).map((_, c) => (
              <Channel key={c} model={model} run={run} step={step} channels={channels!} place={c} colours={pictureChannels === 3} />
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
  channels: HeatMap[];
  place: number;
  colours: boolean;
}

function Channel({ model, run, step, channels, place, colours }: ChannelProps): JSX.Element {
  const ref = useRef<HTMLCanvasElement>(null);
  const share = useMemo(() => {
    const amounts = channels.map((map) => mapValues(map).reduce((sum, value) => sum + (Number.isFinite(value) ? Math.abs(value) : 0), 0));
    const total = amounts.reduce((a, b) => a + b, 0);
    return total > 0 ? amounts[place]! / total : null;
  }, [channels, place]);
  useLayoutEffect(() => {
    const map = channels[place];
    if (!ref.current || !map) return;
    put(ref.current, paintChannels(model, channels)[place]!, map.height, map.width);
    ref.current.dataset.painted = String(step);
  }, [channels, ...paintKey(model)]);
  const name = (colours && NAMES[channels.length]?.[place]) || `Channel ${place}`;
  return (
    <figure>
      <canvas ref={ref} role="img" aria-label={`Relevance of ${name} in ${run.listing.name} at step ${step}`} data-testid={`channel-${place}`} />
      <figcaption title="Share of all absolute relevance">
        {name} <strong>{percent(share)}</strong>
      </figcaption>
    </figure>
  );
}
