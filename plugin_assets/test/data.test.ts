import assert from "node:assert/strict";
import { gradientsLogged } from "../src/data/feed";
import test from "node:test";
import { answerFrom, ApiError } from "../src/data/api";
import { freshRun } from "../src/data/run";
import { Refresher } from "../src/data/refresh";
import { Loader, type Job } from "../src/data/loader";
import { indexAtOrBefore, nearestIndex, union } from "../src/data/steps";
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
  assert.equal(followUp(info([]), listing(0, null)), "nothing");
  assert.equal(followUp({ ...info([0, 1, 2]), brief: true }, listing(3, 2)), "all");
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
  const medians = mergeTimeline({ ...old, medians: { m: [1, 2] }, columns: ["p"] }, { ...more, medians: { m: [2, 9] }, columns: ["q"], session: "s" });
  assert.deepEqual([medians.medians, medians.columns, medians.session], [{ m: [1, 2, 9] }, ["p", "q"], "s"]);
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

test("each pool has the budget for itself, and what was dropped is asked for again: nothing else is", async () => {
  const bench = new Bench();
  const loader = new Loader<string>(25, 9, () => undefined);
  const load = async (...jobs: Job<string>[]): Promise<void> => {
    loader.want(jobs);
    for (const { key } of jobs) bench.finish.get(key)?.(key);
    await turn();
  };
  const small = (key: string): Job<string> => ({ ...bench.job(key, 1), pool: "small" });
  await load(small("x"), bench.job("a"), bench.job("b"));
  await load(bench.job("c")); // drops a, for which there is no room, and not x, which was used before
  assert.deepEqual(["x", "a", "b", "c"].map((key) => loader.get(key)), ["x", undefined, "b", "c"]);
  assert.equal(loader.keptBytes, 21);
  await load(small("x"), bench.job("b"), bench.job("c"), bench.job("a"));
  assert.deepEqual(bench.started, ["x", "a", "b", "c", "a"]);
});

test("a failure counts for the state of what was asked for", async () => {
  const bench = new Bench();
  const loader = new Loader<string>(100, 1, () => undefined);
  const job = (state: string): Job<string> => ({ ...bench.job("a"), state });
  loader.want([job("3 steps")]);
  bench.fail.get("a")!(new Error("gone"));
  await turn();
  loader.want([job("3 steps")]);
  assert.deepEqual(bench.started, ["a"]);
  loader.want([job("4 steps")]);
  assert.deepEqual(bench.started, ["a", "a"]);
  bench.finish.get("a")!("A");
  await turn();
  assert.deepEqual([loader.get("a"), loader.failure("a")], ["A", undefined]);
});

test("a run is asked for its steps, curves and groups once, and then for what is new", async () => {
  const asked: string[] = [];
  const steps = [0, 1, 2];
  let broken = false;
  answerFrom(async (route, { since, session, of_tensors: tensors, columns, brief }) => {
    asked.push([route, brief && "in brief", since, session, tensors, columns].filter((part) => part !== undefined && part !== "").join(" "));
    if (broken) throw new ApiError("down", 0);
    const fresh = steps.filter((step) => since === undefined || step > Number(since));
    if (route === "run") return Response.json({ ...info(fresh), ...(brief ? { brief: true } : {}) });
    if (route === "clusters") return Response.json({ clusters: [{ step: 1, labels: [0] }] });
    return Response.json({ steps: fresh, scalars: { a: fresh }, probes: {}, columns: ["sum"], session: "s" });
  });
  const run = freshRun({ ...listing(3, 2), annotations: "" }, 0);
  const refresher = new Refresher(async () => undefined, () => undefined);
  const since = async (change: Partial<RunListing>, tensors: string[] = []): Promise<string[]> => {
    const before = asked.length;
    run.listing = { ...run.listing, ...change };
    await refresher.run(run, tensors);
    await turn();
    return asked.slice(before);
  };
  assert.deepEqual(await since({}), ["run in brief", "run", "timeline"]);
  assert.deepEqual(await since({}), []);
  assert.deepEqual(await refresher.info(run), run.info);
  assert.deepEqual(await since({ annotations: "1" }), ["clusters"]);
  assert.deepEqual([...run.clusters], [[1, [0]]]);
  // The curves of a tensor come once, also where another was looked at in between.
  assert.deepEqual(await since({}, ["t"]), ["timeline t"]);
  assert.deepEqual(await since({}, ["u"]), ["timeline t,u"]);
  assert.deepEqual(await since({}, ["t"]), []);
  steps.push(7);
  // Another view has asked for the steps before: the curves are still brought up.
  run.listing = listing(4, 7);
  run.listing.annotations = "1";
  await refresher.info(run);
  assert.deepEqual(asked.slice(-1), ["run 2 s"]);
  assert.deepEqual(await since({}), ["timeline 2 s t,u"]);
  assert.deepEqual([run.steps, run.timeline!.steps, run.timeline!.scalars.a], [[0, 1, 2, 7], [0, 1, 2, 7], [0, 1, 2, 7]]);
  assert.deepEqual(await since({ annotations: "" }), []); // no groups any more
  assert.equal(run.clusters.size, 0);
  // What failed is asked for again, and nothing else.
  broken = true;
  assert.deepEqual(await since({ annotations: "2" }), ["clusters"]);
  assert.equal(run.error, null);
  broken = false;
  assert.deepEqual(await since({}), ["clusters"]);
  assert.deepEqual(await since({}), []);
});

test("a failure is kept and not asked again until retry", async () => {
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

test("gradients were logged where their norm is a number; elsewhere that is not known", () => {
  const timeline = { steps: [0, 5, 9], scalars: { "gradients/norm": [null, 0.5, null] }, probes: {} };
  assert.equal(gradientsLogged({ timeline }, 5), true);
  assert.equal(gradientsLogged({ timeline }, 0), null);
  assert.equal(gradientsLogged({ timeline }, 7), null);
  assert.equal(gradientsLogged({ timeline: { ...timeline, scalars: {} } }, 5), null);
  assert.equal(gradientsLogged({ timeline: null }, 5), null);
});
