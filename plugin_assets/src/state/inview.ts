// Which probes are on the screen: of the others no heatmap is loaded or drawn.
import type { Seen } from "../data/feed";
import type { ProbeNames } from "../data/types";
import type { View } from "./view";

/** A set of no more heatmaps is on the screen as a whole: to load and draw it in parts would take longer. */
const FEW_MAPS = 48;
/** So many heatmaps above and below the screen are always near: a small set is there as a whole. */
const NEAR_MAPS = 24;

const NOTHING: Seen = { shown: [], near: [] };

interface Kept extends Seen {
  /** All probes of the set that the page shows when it is scrolled, in their order there. */
  order: readonly number[];
}

/** The probes on the screen by their set's hash, as last reported by the page. */
export class InView {
  /** Whether all count as on the screen. */
  all = false;
  private readonly sets = new Map<string, Kept>();

  /** Those of a run with these probes: of the opened probe that one, none where no heatmaps are shown; null: not known (yet). */
  of({ page, probe }: Pick<View, "page" | "probe">, probes: ProbeNames | undefined): Seen | null {
    if (probe !== null) return probe.hash === probes?.hash && probe.index < probes.names.length ? { shown: [probe.index], near: [] } : NOTHING;
    if (page !== "maps") return NOTHING;
    const kept = probes && this.sets.get(probes.hash);
    if (!kept) return null;
    return this.all ? { shown: kept.order, near: kept.order } : kept;
  }

  /** Takes what is on the screen, each probe `maps` heatmaps; returns whether it differs from before. */
  put(hash: string, order: readonly number[], shown: readonly number[], maps: number): boolean {
    const kept = this.sets.get(hash);
    const few = order.length * maps <= FEW_MAPS;
    const next = few ? { order, shown: order, near: order } : { order, shown, near: around(order, shown, Math.floor(NEAR_MAPS / maps)) };
    this.sets.set(hash, next);
    return String(kept?.shown) !== String(next.shown) || String(kept?.near) !== String(next.near);
  }
}

/** The probes from a screen above to a screen below those shown, and at least `least`. */
function around(order: readonly number[], shown: readonly number[], least: number): readonly number[] {
  const places = shown.map((probe) => order.indexOf(probe)).filter((place) => place >= 0);
  if (places.length === 0) return [];
  const [first, last] = [Math.min(...places), Math.max(...places)];
  const beyond = Math.max(last - first + 1, least);
  return order.slice(Math.max(0, first - beyond), last + 1 + beyond);
}
