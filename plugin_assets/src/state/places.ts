// The places of the slider: all logged steps of the chosen runs.
import { union } from "../data/steps";

export class Places {
  private of: readonly (readonly number[])[] = [];
  private indices = new Map<number, number>();
  steps: readonly number[] = [];

  /** Takes the runs' lists of steps; `steps` stays the same array until one of them is another one. */
  take(lists: readonly (readonly number[])[]): this {
    if (lists.length !== this.of.length || lists.some((list, i) => list !== this.of[i])) {
      this.of = lists;
      this.steps = union(lists);
      this.indices = new Map(this.steps.map((step, index) => [step, index]));
    }
    return this;
  }

  /** Place of a step; -1 where it has none. */
  indexOf(step: number | null): number {
    return step === null ? -1 : (this.indices.get(step) ?? -1);
  }
}
