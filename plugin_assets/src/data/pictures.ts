// Inputs and masks of probe sets, loaded once a set.
import * as api from "./api";
import type { ProbePictures } from "./decode";
import type { RunState } from "./jobs";

export class Pictures {
  private readonly known = new Map<string, ProbePictures | "loading" | Error>();

  constructor(private readonly arrived: () => void) {}

  of(run: RunState): ProbePictures | Error | null {
    const found = this.known.get(run.info?.probes.hash ?? "");
    return found === undefined || found === "loading" ? null : found;
  }

  load(run: RunState): void {
    const hash = run.info?.probes.hash;
    if (hash === undefined || this.known.has(hash)) return;
    this.known.set(hash, "loading");
    api.fetchProbes(run.listing.run, hash).then(
      (pictures) => this.known.set(hash, pictures),
      (error: unknown) => this.known.set(hash, error instanceof Error ? error : new Error(String(error))),
    ).finally(this.arrived);
  }

  /** Forgets what could not be loaded, so that it is asked for again. */
  retry(): void {
    for (const [hash, pictures] of this.known) if (pictures instanceof Error) this.known.delete(hash);
  }
}
