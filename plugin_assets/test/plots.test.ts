import assert from "node:assert/strict";
import test from "node:test";
import { decadeTicks, niceTicks, spread } from "../src/data/ticks";
import { bucketEdges, extent, fillCells } from "../src/data/bins";
import { count, isShare, number, percent, position, quantityTitle } from "../src/data/format";
import { outlinePath } from "../src/paint/outline";
import { linePath, quantities, useLog, yRange } from "../src/data/series";
import type { HistogramAnswer } from "../src/data/types";
import { percentile, shareBelow } from "../src/data/percentiles";
import { cardLayout } from "../src/ui/layout";

const bucketOf = (value: number): number => {
  const view = new DataView(new ArrayBuffer(4));
  view.setFloat32(0, value);
  return view.getUint32(0) >>> 21;
};

function histogram(values: number[]): HistogramAnswer {
  const counts = new Map<number, number>();
  for (const value of values) if (value !== 0) counts.set(bucketOf(value), (counts.get(bucketOf(value)) ?? 0) + 1);
  return {
    size: values.length, zeros: values.filter((v) => v === 0).length, denormals: 0, nan: 0, inf: 0, note: "",
    minimum: Math.min(...values), maximum: Math.max(...values), norm: Math.hypot(...values),
    buckets: [...counts.keys()], counts: [...counts.values()],
  };
}

test("a value lies in the bucket of its top 11 bits", () => {
  assert.deepEqual(bucketEdges(bucketOf(1)), [1, 1.25]);
  assert.deepEqual(bucketEdges(bucketOf(-0.7)), [-0.75, -0.625]);
  for (const value of [1e-30, -3e-5, 0.1, 7.99, -123456, 3e38]) {
    const [left, right] = bucketEdges(bucketOf(value));
    assert.ok(left <= value && value <= right && left < right, String(value));
  }
});

test("cells hold all values, where they are", () => {
  const values = [-0.9, -0.9, -0.01, 0.02, 0.3, 0.3, 0.3, 0.95, 0];
  const range = extent(histogram(values), false)!;
  assert.deepEqual(range, { low: -0.9, high: 0.95 });
  const cells = fillCells(histogram(values), range, false, 2);
  assert.ok(Math.abs(cells.reduce((a, b) => a + b, 0) - 8) < 1e-9); // the zero is apart
  assert.ok(Math.abs(cells[0]! - 4) < 0.05 && Math.abs(cells[1]! - 4) < 0.05); // 0.025 is the middle
});

test("on the log axis both signs meet at log10 of their size", () => {
  const both = histogram([1e-3, -1e-3, 1e-3, -10]);
  const range = extent(both, true)!;
  assert.ok(Math.abs(range.low - Math.log10(bucketEdges(bucketOf(1e-3))[0])) < 1e-9 && range.high >= 1);
  const cells = fillCells(both, { low: -4, high: 2 }, true, 6);
  assert.ok(Math.abs(cells[0]! + cells[1]! - 3) < 1e-9);
  assert.ok(Math.abs(cells[5]! - 1) < 1e-9);
});

test("constant and empty tensors have an axis or none", () => {
  const constant = extent(histogram([2, 2]), false)!;
  assert.ok(constant.low < 2 && constant.high > 2);
  assert.equal(extent(histogram([0, 0]), false), null);
});

test("ticks are round and lie within the axis", () => {
  assert.deepEqual(niceTicks(0, 1, 4), [0, 0.25, 0.5, 0.75, 1]);
  assert.deepEqual(niceTicks(-0.7, 0.6, 3), [-0.5, 0, 0.5]);
  assert.deepEqual(niceTicks(3, 3, 4), [3]);
  assert.deepEqual(decadeTicks(-6.2, -2.9, 8), [-6, -5, -4, -3]);
  assert.deepEqual(decadeTicks(-12, 0, 4), [-12, -8, -4, 0]);
  assert.deepEqual(spread(5, 9), [0, 1, 2, 3, 4]);
  assert.deepEqual(spread(1000, 3), [0, 500, 999]);
});

test("numbers as a person reads them", () => {
  assert.deepEqual([0, 0.97, -0.05, 12.34, 123.4, 3.2e-5, -1234567, null, NaN].map(number), [
    "0", "0.970", "−0.0500", "12.3", "123", "3.20e−5", "−1.23e6", "–", "–",
  ]);
  assert.equal(number(0.0004123), "0.000412");
  assert.deepEqual([0.00041, -0.00041, 2e-8].map(percent), ["0.041 %", "−0.041 %", "2.0e−6 %"]);
  assert.deepEqual([0, 0.004, 0.42, 0.996, 0.9999, null].map(percent), ["0 %", "0.4 %", "42 %", "99.6 %", "100 %", "–"]);
  assert.equal(count(22564), "22\u202f564");
  assert.deepEqual(
    [position(0, 0), position(0, 1), position(0, 64), position(10, 940)],
    ["before training", "1 batch", "64 batches", "10 epochs, 940 batches"],
  );
  assert.equal(quantityTitle("lrp/mask_mass/stamp"), "Relevance in “stamp”");
  assert.equal(isShare("lrp/conservation"), false);
});

test("the outline of a mask runs along its pixels' outer edges, straight edges in one piece", () => {
  assert.equal(outlinePath(Uint8Array.from([0, 0, 0, 0, 1, 1, 0, 0, 0]), 3, 3), "M1 1H3M1 2H3M1 1V2M3 1V2");
  assert.equal(outlinePath(new Uint8Array(4), 2, 2), "");
});

test("lines leave gaps where values are missing and dots where one stands alone", () => {
  const id = (v: number): number => v;
  assert.equal(linePath([0, 1, 2, 3, 4], [1, 2, null, 4, null], false, id, id), "M0.0 1.0L1.0 2.0M3.0 4.0h0");
});

test("quantities: the informative ones first, single tensors apart", () => {
  const scalars = Object.fromEntries(
    ["weights/norm", "weights/norm/a/kernel", "lrp/drift", "lrp/mask_mass/shape", "lrp/mask_mass/stamp", "weights/nonfinite", "gradients/zero_fraction/a/kernel"].map((t) => [t, []]),
  );
  assert.deepEqual(quantities([{ steps: [], scalars, probes: {} }], ["stamp", "shape"]), {
    main: ["lrp/mask_mass/stamp", "lrp/mask_mass/shape", "lrp/drift", "weights/norm", "weights/nonfinite"],
    tensors: ["weights/norm/a/kernel", "gradients/zero_fraction/a/kernel"],
    all: ["lrp/mask_mass/stamp", "lrp/mask_mass/shape", "lrp/drift", "weights/norm", "weights/nonfinite", "weights/norm/a/kernel", "gradients/zero_fraction/a/kernel"],
  });
});

test("axes: shares from 0 to 100 %, norms on a log axis where they span much", () => {
  assert.deepEqual(yRange([[0.2, 0.61, null]], false, true), { low: 0, high: 1 });
  assert.equal(useLog("gradients/norm", [[0.01, 3]]), true);
  assert.equal(useLog("gradients/norm", [[1, 3]]), false);
  assert.equal(useLog("gradients/norm", [[0, 300]]), false);
  assert.deepEqual(yRange([], false, false), { low: 0, high: 1 });
});

test("cards fill the row without captions getting too narrow", () => {
  const wide = cardLayout(1004, 3, 140);
  assert.deepEqual(wide, { columns: 2, card: 496 });
  const narrow = cardLayout(772, 3, 140);
  assert.equal(narrow.columns, 2);
  assert.equal(narrow.card, 380);
  assert.equal(cardLayout(400, 3, 220).columns, 1);
  assert.ok(cardLayout(3000, 2, 108).card <= 2 * (162 + 12) - 12 + 26);
});

test("percentiles are those of the values, even within a bucket, zeros at 0", () => {
  const few = histogram([-2, -1, 0, 0, 1, 1, 1, 4]); // no two values share a bucket, so that edges are exact
  assert.equal(shareBelow(few, -1, false), 2 / 8);
  assert.equal(shareBelow(few, -1.125, false), 1.5 / 8); // -1 is counted in [-1.25, -1]
  assert.equal(shareBelow(few, 0.5, false), 4 / 8);
  assert.equal(shareBelow(few, 5, false), 1);
  assert.equal(shareBelow(few, -9, false), 0);
  assert.equal(shareBelow(few, 0.5, true), 2 / 8);
  assert.equal(percentile(few, 0.5, false), 0);
  assert.equal(percentile(few, 0, false), -2);
  assert.equal(percentile(few, 1, false), 4);
  assert.equal(percentile(few, 0.25, true), 0);
  assert.equal(percentile(histogram([]), 0.5, false), null);
  const random = Array.from({ length: 4001 }, (_, i) => Math.tan(3.1 * (i / 4000 - 0.5)) / 50).sort((a, b) => a - b);
  for (const share of [0.05, 0.3, 0.5, 0.9]) {
    const found = percentile(histogram(random), share, false)!;
    assert.ok(Math.abs(shareBelow(histogram(random), found, false)! - share) < 3e-4); // a value of 0 is a point
    const exact = random[Math.round(share * 4000)]!;
    assert.ok(Math.abs(found - exact) <= 0.13 * Math.abs(exact) + 1e-4, `${share}: ${found} for ${exact}`);
  }
});
