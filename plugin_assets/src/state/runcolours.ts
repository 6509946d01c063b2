// Which colour of the palette a run has: TensorBoard numbers its runs in the order it lists them, of whatever plugin.
import * as api from "../data/api";

/** Colours of the palette. */
export const COLOURS = 7;

/** Numbers the runs of each colour. */
export function assignPatterns(runs: readonly { order: number; pattern: number }[]): void {
  const before = new Map<number, number>();
  for (const run of runs) {
    const colour = run.order % COLOURS;
    run.pattern = before.get(colour) ?? 0;
    before.set(colour, run.pattern + 1);
  }
}

export class RunOrder {
  private readonly places = new Map<string, number>();

  knows(run: string): boolean {
    return this.places.has(run);
  }

  of(run: string): number {
    return this.places.get(run) ?? 0;
  }

  /** Numbers the runs of TensorBoard and then those of `own` that it does not list. */
  async learn(own: readonly string[]): Promise<void> {
    let names: string[] = [];
    try {
      names = await api.fetchAllRunNames();
    } catch {
      // Without the list the runs of this page have their own order of the same colours.
    }
    this.take([...names, ...own]);
  }

  take(names: readonly string[]): void {
    for (const name of names) if (!this.places.has(name)) this.places.set(name, this.places.size);
  }
}
