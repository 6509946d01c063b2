import assert from "node:assert/strict";
import { gradientsLogged } from "../src/data/feed";
import test from "node:test";
import { Loader, type Job } from "../src/data/loader";
import { indexAtOrBefore, nearestIndex, union } from "../src/state/steps";
import { followUp, mergeRun, mergeTimeline } from "../src/data/tail";
import type { RunInfo, RunListing } from "../src/data/types";

const info = (steps: number[], session = "s"): RunInfo => ({
  run: "a",
  session,
  meta: {},
  steps: steps.map((step) => ({ step, epoch: 0, batch: step, wall_time: 0, session, maps: true, notes: [] })),
  probes: { names: [], labels: null, class_names: null, map_shape: [1, 1], image_shape: [1, 1, 1], masks: [], hash: "h" },
  tensors: [],
  problems: [],
});
const listing = (steps: number, last: number | null, session = "s", hash = "h"): RunListing => ({
  run: "a", name: "a", session, steps, last_step: last, probes_hash: hash, problems: [],
});

test("finding steps", () => {
  const steps = [0, 1, 2, 4, 8];
  assert.deepEqual([-1, 0, 3, 4, 99].map((step) => indexAtOrBefore(steps, step)), [-1, 0, 2, 3, 4]);
  assert.deepEqual([-5, 3, 5, 6, 7, 99].map((step) => nearestIndex(steps, step)), [0, 2, 3, 3, 4, 4]);
  assert.equal(nearestIndex([], 3), -1);
  assert.deepEqual(union([[0, 4, 10], [0, 2, 10, 11]]), [0, 2, 4, 10, 11]);
  assert.deepEqual(union([]), []);
});

test("a growing run is asked only for what is new, a changed one from the last step known", () => {
  const known = info([0, 1, 2]);
  assert.equal(followUp(null, listing(3, 2)), "all");
  assert.equal(followUp(info([]), listing(3, 2)), "all");
  assert.equal(followUp(known, listing(3, 2)), "nothing");
  assert.deepEqual(followUp(known, listing(5, 9)), { step: 2, session: "s" });
  assert.deepEqual(followUp(known, listing(3, 2, "later")), { step: 2, session: "s" });
  assert.deepEqual(followUp(known, listing(2, 1)), { step: 2, session: "s" });
  assert.equal(followUp(known, listing(5, 9, "s", "other probes")), "all");
});

test("new steps are added once", () => {
  const merged = mergeRun(info([0, 1]), info([1, 2, 3]));
  assert.deepEqual(merged.steps.map((step) => step.step), [0, 1, 2, 3]);
  const replaced = { ...info([0, 5], "later"), reset: true };
  assert.equal(mergeRun(info([0, 1]), replaced), replaced);
  assert.equal(mergeRun(null, replaced), replaced);
});

test("timelines join by step; a tag that came later, or ended, has nulls in the other part", () => {
  const old = { steps: [0, 1], scalars: { a: [1, 2], gone: [3, 4] }, probes: { p: [[1], [2]] } };
  const more = { steps: [1, 2], scalars: { a: [2, 5], late: [6, 7] }, probes: { p: [[2], [8]] } };
  assert.deepEqual(mergeTimeline(old, more), {
    steps: [0, 1, 2],
    scalars: { a: [1, 2, 5], gone: [3, 4, null], late: [null, null, 7] },
    probes: { p: [[1], [2], [8]] },
  });
  assert.equal(mergeTimeline(old, { steps: [1], scalars: {}, probes: {} }), old);
  const replaced = { steps: [0, 5], scalars: {}, probes: {}, reset: true };
  assert.equal(mergeTimeline(old, replaced), replaced);
});

class Bench {
  readonly started: string[] = [];
  readonly finish = new Map<string, (value: string) => void>();
  readonly fail = new Map<string, (error: Error) => void>();
  job(key: string, bytes = 10): Job<string> {
    return {
      key,
      bytes: () => bytes,
      load: () => {
        this.started.push(key);
        return new Promise((resolve, reject) => {
          this.finish.set(key, resolve);
          this.fail.set(key, reject);
        });
      },
    };
  }
}
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("the loader starts the most wanted first, no more than it may at once, and drops what is wanted no longer", async () => {
  const bench = new Bench();
  const arrived: string[] = [];
  const loader = new Loader<string>(1000, 2, (key) => arrived.push(key));
  loader.want(["a", "b", "c"].map((key) => bench.job(key)));
  assert.deepEqual(bench.started, ["a", "b"]);
  loader.want(["d", "b"].map((key) => bench.job(key)));
  bench.finish.get("a")!("A");
  await turn();
  assert.deepEqual(bench.started, ["a", "b", "d"]);
  assert.deepEqual(arrived, ["a"]);
  assert.equal(loader.get("a"), "A");
  assert.equal(loader.get("c"), undefined);
});

test("the loader forgets what was not used for longest, never what is wanted now", async () => {
  const bench = new Bench();
  const loader = new Loader<string>(25, 5, () => undefined);
  loader.want(["a", "b"].map((key) => bench.job(key)));
  bench.finish.get("a")!("A");
  bench.finish.get("b")!("B");
  await turn();
  loader.get("a"); // b is now the one not used for longest
  loader.want([bench.job("c")]);
  bench.finish.get("c")!("C");
  await turn();
  assert.deepEqual([loader.get("a"), loader.get("b"), loader.get("c")], ["A", undefined, "C"]);
  assert.equal(loader.keptBytes, 20);
  loader.want([bench.job("c"), bench.job("big", 100)]);
  bench.finish.get("big")!("BIG");
  await turn();
  assert.deepEqual([loader.get("a"), loader.get("c"), loader.get("big")], [undefined, "C", "BIG"]);
});

test("what is kept but not enough is completed, by one request at a time", async () => {
  const loader = new Loader<string>(100, 5, () => undefined);
  const asked: [string | undefined, string][] = [];
  const answers: (() => void)[] = [];
  const wish = (letters: string): Job<string> => ({
    key: "step",
    bytes: (value) => value.length,
    enough: (value) => [...letters].every((letter) => value.includes(letter)),
    load: (known) => {
      asked.push([known, letters]);
      return new Promise((resolve) => answers.push(() => resolve((known ?? "") + letters)));
    },
  });
  loader.want([wish("ab"), wish("abc")]);
  loader.want([wish("bc")]); // the page was scrolled meanwhile
  assert.deepEqual(asked, [[undefined, "ab"]]);
  answers[0]!();
  await turn();
  assert.deepEqual(asked, [[undefined, "ab"], ["ab", "bc"]]);
  assert.equal(loader.get("step"), "ab");
  answers[1]!();
  await turn();
  loader.want([wish("ac")]);
  assert.deepEqual([loader.get("step"), loader.keptBytes, asked.length], ["abbc", 4, 2]);
});

test("a failure is kept in words and not asked again until retry", async () => {
  const bench = new Bench();
  const loader = new Loader<string>(100, 1, () => undefined);
  loader.want([bench.job("a")]);
  bench.fail.get("a")!(new Error("step 3 is gone"));
  await turn();
  assert.equal(loader.failure("a"), "step 3 is gone");
  loader.want([bench.job("a")]);
  assert.deepEqual(bench.started, ["a"]);
  loader.retry();
  assert.deepEqual(bench.started, ["a", "a"]);
  bench.finish.get("a")!("A");
  await turn();
  assert.equal(loader.get("a"), "A");
});

test("gradients were logged where their norm is a number; elsewhere the scalars do not tell", () => {
  const timeline = { steps: [0, 5, 9], scalars: { "gradients/norm": [null, 0.5, null] }, probes: {} };
  assert.equal(gradientsLogged({ timeline }, 5), true);
  assert.equal(gradientsLogged({ timeline }, 0), null);
  assert.equal(gradientsLogged({ timeline }, 7), null);
  assert.equal(gradientsLogged({ timeline: { ...timeline, scalars: {} } }, 5), null);
  assert.equal(gradientsLogged({ timeline: null }, 5), null);
});
