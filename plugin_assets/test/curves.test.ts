import assert from "node:assert/strict";
import test from "node:test";
import { band, batchesPerEpoch, smoothed, xTicks, xValues, seenSteps } from "../src/data/curves";
import { stepUnit } from "../src/data/axes";
import type { RunInfo } from "../src/data/types";
import { eventsOf } from "../src/events/detect";
import { markText, readMark } from "../src/events/notes";
import type { RunState } from "../src/data/run";
import { available, columnsOf, paint, rank, rowsOf, scaleOf } from "../src/overview/matrix";
import { branchesOf, openDepth, treeOf } from "../src/overview/tree";

const run = (axis: string, steps: [number, number, number, number][]): RunState =>
  ({ info: { meta: { axis }, steps: steps.map(([step, epoch, batch, wall_time]) => ({ step, epoch, batch, wall_time })) } }) as unknown as RunState;

test("where steps stand: in epochs by the batches of an epoch, in time from the first log", () => {
  const batches = run("batch", [[0, 0, 0, 50], [5, 0, 5, 60], [20, 2, 20, 80]]);
  assert.equal(batchesPerEpoch(batches.info!.steps), 10);
  const indexOf = (step: number): number => step * 100;
  assert.deepEqual([...xValues(batches, "epoch", indexOf)], [0, 0.5, 2]);
  assert.deepEqual([...xValues(batches, "relative", indexOf)], [0, 10, 30]);
  assert.deepEqual([...xValues(batches, "wall", indexOf)], [50, 60, 80]);
  assert.deepEqual([...xValues(batches, "steps", indexOf)], [0, 5, 20]);
  assert.deepEqual([...xValues(batches, "logs", indexOf)], [0, 500, 2000]);
  assert.equal(batchesPerEpoch([]), null);
  const epochs = run("epoch", [[0, 0, 0, 1], [1, 1, 10, 2]]);
  assert.deepEqual([stepUnit([batches]), stepUnit([epochs]), stepUnit([batches, epochs]), stepUnit([])], ["batches", "epochs", "mixed", "steps"]);
});

test("ticks stand at round steps where those were logged, with their unit", () => {
  const steps = Array.from({ length: 1000 }, (_, i) => i);
  const logs = xTicks("logs", 0, 999, steps, 400, "batches");
  assert.deepEqual(logs.ticks.map(logs.text), ["0", "200", "400", "600", "800"]);
  assert.equal(logs.unit, "batches");
  const powers = [0, 1, 2, 4, 8, 16, 94, 188];
  assert.deepEqual(xTicks("logs", 0, 7, powers, 280, "batches").ticks.map((i) => powers[i]), [0, 2, 16, 188]);
  const hours = xTicks("relative", 0, 4 * 3600, [], 400, "");
  assert.deepEqual([hours.unit, hours.ticks.map(hours.text)], ["hours since the first log", ["0", "1", "2", "3", "4"]]);
  const wall = xTicks("wall", 1.7e9, 1.7e9 + 6 * 3600, [], 500, "");
  assert.ok(wall.ticks.length >= 2 && wall.ticks.every((x) => wall.text(x).endsWith(":00")), wall.ticks.map(wall.text).join());
});

test("a smoothed curve starts at its first value and keeps its gaps", () => {
  assert.deepEqual(smoothed([4, null, 4, 4], 0.9), [4, null, 4, 4].map((value) => (value === null ? null : value)));
  const [a, b] = smoothed([0, 1], 0.5);
  assert.ok(a === 0 && Math.abs(b! - 2 / 3) < 1e-12);
});

test("where points crowd, each pixel has the range of its values and their mean; gaps stay", () => {
  const { area, mean } = band([0, 0.2, 1, 2, 3], [10, 20, 30, null, 5]);
  assert.equal(mean, "M0 15.0L1 30.0M3 5.0");
  assert.equal(area, "M0 9.5L1 29.5L1 30.5L0 20.5ZM3 4.5L3 5.5Z");
});

const timeline = {
  steps: [0, 1, 2],
  tags: ["gradients/norm/a", "gradients/norm/b", "weights/norm/a", "gradients/nonfinite/b"],
  columns: ["layer/x", "sum"],
  probes: {},
  scalars: { "gradients/norm/a": [null, 1, 100], "gradients/norm/b": [0, 10, null], "weights/norm/a": [1, 2, 4], "gradients/nonfinite/b": [null, null, 3] },
  medians: { "layer/x": [1, -0.5, null] },
};

test("the rows of the network are in its order, by what was logged", () => {
  assert.deepEqual(available(timeline), ["gradients", "weights", "ratio", "broken", "relevance"]);
  const rows = rowsOf(timeline, "gradients", ["b", "a", "c"]);
  assert.deepEqual(rows.map(({ name, values, broken }) => [name, [...values], [...broken]]), [["b", [0, 10, NaN], [0, 0, 1]], ["a", [NaN, 1, 100], [0, 0, 0]]]);
  assert.deepEqual(rowsOf(timeline, "ratio", ["b", "a"]).map(({ name, values }) => [name, ...values]), [["a", NaN, 0.5, 25]]);
  assert.deepEqual(rowsOf(timeline, "relevance", []).map(({ name, values }) => [name, [...values]]), [["x", [1, 0.5, NaN]]]);
  assert.deepEqual(rank(rows, "value", 1, true).map(({ name }) => name), ["b", "a"]);
  assert.deepEqual(rank(rows, "change", 1, true).map(({ name }) => name), ["a", "b"]);
});

test("update ratios are rows of tensors, unused channels shares of a layer's", () => {
  const logged = { steps: [0, 1], probes: {}, tags: ["weights/update_ratio", "weights/update_ratio/a", "lrp/features/block/conv/unused"], scalars: { "weights/update_ratio": [null, 9], "weights/update_ratio/a": [null, 1e-3], "weights/nonfinite/a": [null, 1], "lrp/features/block/conv/unused": [4, 1] } };
  assert.deepEqual(available(logged), ["updates", "unused"]);
  assert.deepEqual(rowsOf(logged, "updates", ["b", "a"]).map(({ name, values, broken }) => [name, [...values], [...broken]]), [["a", [NaN, 1e-3], [0, 1]]]);
  assert.deepEqual(rowsOf(logged, "unused", [], new Map([["block/conv", 8]])).map(({ name, values }) => [name, [...values]]), [["block/conv", [0.5, 0.125]]]);
  assert.deepEqual(rowsOf(logged, "unused", []), []);
});

test("rows are a tree by the parts of their names, a closed branch the largest of its rows", () => {
  const row = (name: string, ...values: number[]) => ({ name, values: Float64Array.from(values), broken: new Uint8Array(values.length) });
  const rows = [row("in/kernel", 1, 2), row("a/b/c/kernel", 5, NaN), row("a/b/c/bias", 7, 3), row("a/b/d/kernel", 1, 9), row("head", 4, 4)];
  rows[3]!.broken[0] = 1;
  const seen = (open: boolean) => treeOf(rows, () => open).map(({ label, depth, members }) => [depth, label, members]);
  assert.deepEqual(seen(false), [[0, "in/kernel", 0], [0, "a/b/", 3], [0, "head", 0]]);
  assert.deepEqual(seen(true), [[0, "in/kernel", 0], [0, "a/b/", 3], [1, "c/", 2], [2, "kernel", 0], [2, "bias", 0], [1, "d/kernel", 0], [0, "head", 0]]);
  const branch = treeOf(rows, () => false)[1]!;
  assert.deepEqual([branch.path, [...branch.row.values], [...branch.row.broken]], ["a/b/", [7, 9], [1, 0]]);
  assert.deepEqual(branchesOf(rows).map(({ path, depth }) => [path, depth]), [["a/b/", 0], ["a/b/c/", 1]]);
  assert.deepEqual([2, 3, 5, 7].map((most) => openDepth(rows, most)), [0, 0, 1, 2]);
});

test("the steps of a part of an axis, by places, by steps, and by the times of a run", () => {
  const steps = [0, 10, 20, 30];
  const lead = { info: { steps: [{ step: 0, epoch: 0, batch: 0, wall_time: 100 }, { step: 20, epoch: 1, batch: 8, wall_time: 160 }, { step: 30, epoch: 2, batch: 16, wall_time: 200 }] } } as never;
  const at = (step: number): number => steps.indexOf(step);
  assert.equal(seenSteps(steps, lead, "wall", null, at), steps);
  assert.deepEqual(seenSteps(steps, null, "logs", [0.5, 2], at), [10, 20]);
  assert.deepEqual(seenSteps(steps, null, "steps", [0, 20], at), [0, 10, 20]);
  assert.deepEqual(seenSteps(steps, lead, "relative", [50, 99], at), [20]);
  assert.deepEqual(seenSteps(steps, lead, "epoch", [1, 2], at), [20, 30]);
});

test("colours are by powers of ten, zero, missing and not finite apart, and the largest of steps on one pixel", () => {
  const rows = rowsOf(timeline, "gradients", ["b", "a"]);
  const scale = scaleOf(rows, true);
  assert.deepEqual(scale, { low: 0, high: 2 });
  const words = paint(rows, 3, 3, scale, true);
  assert.equal(new Set([words[0], words[1], words[2], words[4]]).size, 4);
  assert.equal(words[3], 0); // nothing was logged
  assert.equal(columnsOf(3, 2), 2);
  const two = paint(rows, 3, 2, scale, true);
  assert.equal(two[1], words[2]); // broken where any of its steps is
  assert.equal(two[3], words[5]);
});

test("events of a run: alerts over and under, not finite, flips, restarts, notes, its end", () => {
  const step = (n: number, session: string, more: object = {}): object => ({ step: n, epoch: 0, batch: n, wall_time: n, session, maps: true, notes: [], ...more });
  const info = {
    meta: { alerts: { stamp: 0.25 } },
    steps: [step(0, "a"), step(4, "a", { notes: ["logged"] }), step(9, "b", { nonfinite: { loss: 1 } })],
    probes: { names: ["p", "q"], labels: null, class_names: ["cat", "dog"] },
    replaced: 2,
  } as unknown as RunInfo;
  const timeline = { steps: [0, 4, 9], scalars: { "lrp/mask_mass/stamp": [0.1, 0.5, 0.2] }, probes: { prediction: [[0, 1], [0, 1], [1, null]] } };
  assert.deepEqual(
    eventsOf(info, timeline, true).map(({ kind, step: at, text }) => [at, kind, text]),
    [
      [0, "restart", "2 steps of earlier sessions no longer shown"],
      [4, "alert", "relevance in stamp above 25 %: 50 %"],
      [4, "note", "logged"],
      [9, "alert", "relevance in stamp no longer above 25 %: 20 %"],
      [9, "finite", "a loss of the epoch not finite since step 9"],
      [9, "flip", "2 predictions flipped (p: cat → dog; q: dog → none)"],
      [9, "restart", "logged by a later session from here on"],
      [9, "restart", "the fit ended"],
    ],
  );
  const layers = [{ layer: "conv", emerged: [{ class: 1, channel: 3, step: 4, share: 0.31 }, { class: -1, channel: 0, step: 9, share: 0.5 }] }];
  const more = eventsOf({ ...info, replaced: 0, meta: {} }, { ...timeline, probes: {} }, false, layers);
  assert.deepEqual(
    more.filter(({ kind }) => kind === "emerged").map(({ kind, step: at, time, text }) => [at, kind, time, text]),
    [
      [4, "emerged", 4, "channel 3 of conv emerged for dog: 31 % of the relevance at the last step"],
      [9, "emerged", 9, "channel 0 of conv emerged: 50 % of the relevance at the last step"],
    ],
  );
  assert.deepEqual(readMark(markText({ step: 7, text: "a:b\nc" })), { step: 7, text: "a:b\nc" });
  assert.equal(readMark("x:1"), null);
});
