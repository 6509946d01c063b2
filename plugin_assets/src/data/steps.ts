// Finding one's way in ascending lists of logged steps.

/** Index of the last step <= `step`, or -1 where all are later or there is none to look for. */
export function indexAtOrBefore(steps: readonly number[], step: number | null): number {
  if (step === null) return -1;
  let low = 0;
  let high = steps.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle]! <= step) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** Index of the step closest to `step`; the earlier one on a tie; -1 in an empty list. */
export function nearestIndex(steps: readonly number[], step: number): number {
  const before = indexAtOrBefore(steps, step);
  if (before < 0) return steps.length ? 0 : -1;
  const after = before + 1;
  return after < steps.length && steps[after]! - step < step - steps[before]! ? after : before;
}

/** All steps that any list holds, ascending, each once. */
export function union(lists: readonly (readonly number[])[]): number[] {
  if (lists.length === 1) return [...lists[0]!];
  return [...new Set(lists.flat())].sort((a, b) => a - b);
}
