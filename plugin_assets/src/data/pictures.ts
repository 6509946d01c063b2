// Inputs and masks of probe sets: of a large set first those on the screen, all when there is time.
import * as api from "./api";
import { joinedPictures, type ProbePictures } from "./decode";
import type { RunState } from "./run";
import type { ProbeNames } from "./types";

/** Sets of fewer bytes come as a whole at once. */
const SMALL_BYTES = 1 << 20;
/** Probes that are asked for at once at most: the server takes as many numbers. */
const MOST_PROBES = 512;

interface Kept {
  pictures: ProbePictures | null;
  whole: boolean;
  loading: boolean;
  error: Error | null;
}

export class Pictures {
  private readonly sets = new Map<string, Kept>();

  constructor(private readonly arrived: () => void) {}

  of(run: RunState): ProbePictures | Error | null {
    const kept = this.sets.get(run.info?.probes.hash ?? "");
    return kept?.error ?? kept?.pictures ?? null;
  }

  /** `shown`: the probes on the screen, null while they are not known. `idle`: whether there is time for the others. */
  load(run: RunState, shown: readonly number[] | null, idle: boolean): void {
    const probes = run.info?.probes;
    if (!probes) return;
    const kept = this.sets.get(probes.hash) ?? { pictures: null, whole: false, loading: false, error: null };
    this.sets.set(probes.hash, kept);
    if (kept.whole || kept.loading || kept.error) return;
    const missing = (of: readonly number[]): number[] => of.filter((probe) => kept.pictures?.pictures[probe] === undefined).slice(0, MOST_PROBES);
    if (idle || bytesOf(probes) < SMALL_BYTES) void this.ask(run, probes, kept, kept.pictures && missing(probes.names.map((_, probe) => probe)));
    else if (missing(shown ?? []).length > 0) void this.ask(run, probes, kept, missing(shown!));
  }

  private async ask(run: RunState, { hash, names }: ProbeNames, kept: Kept, wanted: readonly number[] | null): Promise<void> {
    kept.loading = true;
    try {
      kept.pictures = joinedPictures(kept.pictures, await api.fetchProbes(run.listing.run, hash, wanted));
      // A file that was handed on gives all in any case.
      kept.whole = wanted === null || names.every((_, probe) => kept.pictures!.pictures[probe] !== undefined);
    } catch (error) {
      kept.error = error instanceof Error ? error : new Error(String(error));
    }
    kept.loading = false;
    this.arrived();
  }

  /** Forgets what could not be loaded, so that it is asked for again. */
  retry(): void {
    for (const kept of this.sets.values()) kept.error = null;
  }
}

/** Bytes of the pictures and masks of a set. */
function bytesOf({ names, image_shape, map_shape, masks, inputs }: ProbeNames): number {
  const size = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
  const each = size(image_shape) + masks.length * size(map_shape) + (inputs ?? []).reduce((sum, input) => sum + 4 * size(input.map_shape), 0);
  return names.length * each;
}
