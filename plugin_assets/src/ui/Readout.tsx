// The value under the pointer, in every chosen run at once.
import type { JSX } from "preact";
import { planeOf } from "../data/decode";
import { valueOf } from "../data/difference";
import { number, percent } from "../data/format";
import { isPicture } from "../data/source";
import type { Model } from "../state/model";
import { shownMap } from "../state/shown";
import { Dot } from "./Dot";
import type { Pointed } from "./pointer";

const OFFSET = 14;
const WIDTH = 240;

export function Readout({ model, pointed }: { model: Model; pointed: Pointed }): JSX.Element | null {
  const all = model.selected();
  const runs = all.filter((run) => run.info?.probes.hash === pointed.hash);
  const probes = runs[0]?.info?.probes;
  if (!probes) return null;
  const { height, width } = planeOf(probes.map_shape);
  const column = Math.min(width - 1, Math.max(0, Math.floor(pointed.x * width)));
  const row = Math.min(height - 1, Math.max(0, Math.floor(pointed.y * height)));
  const picture = isPicture(probes);
  if (!picture && pointed.place === null) return null;
  const pixel = pointed.place?.index ?? row * width + column;
  const masks = model.picturesOf(runs[0]!);
  const inside = masks && !(masks instanceof Error) ? [...masks.masks].filter(([, set]) => set[pointed.probe]?.[pixel]) : [];
  const style = {
    left: `${Math.min(pointed.clientX + OFFSET, window.innerWidth - WIDTH)}px`,
    top: `${Math.min(pointed.clientY + OFFSET, window.innerHeight - 40 - 20 * runs.length)}px`,
  };
  return (
    <div class="pixel-readout" style={style} data-testid="pixel-readout" aria-hidden="true">
      <p>
        {picture ? `row ${row}, column ${column}` : <bdi>{pointed.place?.description}</bdi>}
        {inside.map(([mask]) => (
          <span key={mask}>
            {" "}
            · in <bdi>{mask}</bdi>
          </span>
        ))}
      </p>
      {runs.map((run) => {
        const frame = model.stepOf(run, model.currentStep()) === null ? null : run.frame;
        const { map, limit } = shownMap(run, frame, pointed.probe, model.view, all);
        const value = map === null ? NaN : valueOf(map, pixel);
        return (
          <p key={run.listing.run} class="line" data-run={run.listing.run}>
            <Dot run={run} />
            <bdi class="name">{run.listing.name}</bdi>
            <strong data-value={value}>{value > 0 ? `+${number(value)}` : number(value)}</strong>
            {limit > 0 && Number.isFinite(value) && <span class="aside">{percent(value / limit)}</span>}
          </p>
        );
      })}
    </div>
  );
}
