import assert from "node:assert/strict";
import test from "node:test";
import type { HeatMap } from "../src/data/decode";
import { difference, percentile, valueOf } from "../src/data/difference";
import type { Frame } from "../src/data/decode";
import type { RunState } from "../src/data/run";
import { overText, shownMap } from "../src/state/shown";
import { soften } from "../src/data/soften";
import { colourLimit } from "../src/state/limits";
import { alertLimits, clustersAt, exceeded, selectProbes, sortings } from "../src/state/selection";
import type { ProbeNames, StepHeader } from "../src/data/types";
import { DEFAULT_VIEW } from "../src/state/view";

const floats = (...values: number[]): HeatMap => {
  const absmax = Math.max(...values.map(Math.abs).filter(Number.isFinite), 0);
  return { kind: "float", data: Float32Array.from(values), absmax, height: 1, width: values.length };
};
const bytes = (absmax: number, ...q: number[]): HeatMap => ({
  kind: "sqrt8",
  data: Int8Array.from(q),
  absmax,
  height: 1,
  width: q.length,
});

test("a difference in relevance, and one of shares of each map's maximum", () => {
  const [a, b] = [floats(4, -2, 0), floats(1, 1, -2)];
  const plain = difference(a, b, false)!;
  assert.deepEqual([...plain.data], [3, -3, 2]);
  assert.equal(plain.absmax, 3);
  const shares = difference(a, b, true)!;
  assert.deepEqual([...shares.data], [0.5, -1, 1]);
  assert.equal(shares.absmax, 1);
  assert.equal(difference(a, b, true), shares); // the last one is kept
  assert.equal(difference(a, floats(1, 2), true), null);
  assert.deepEqual([...difference(a, floats(0, 0, 0), true)!.data], [1, -0.5, 0]);
});

test("a difference of stored maps is that of their values; what is not finite in either is not finite", () => {
  const made = difference(bytes(4, 127, -127, -128, 0), bytes(2, 127, 127, 5, -128), false)!;
  assert.deepEqual([...made.data.slice(0, 2)], [2, -6]);
  assert.ok(Number.isNaN(made.data[2]) && Number.isNaN(made.data[3]));
  assert.equal(made.absmax, 6);
});

test("percentiles of |R| of stored maps and of numbers, without what is not finite", () => {
  const ramp = Float32Array.from({ length: 100 }, (_, i) => (i % 2 ? 1 : -1) * (i + 1));
  const map: HeatMap = { kind: "float", data: ramp, absmax: 100, height: 10, width: 10 };
  assert.equal(percentile(map, 100), 100);
  assert.equal(percentile(map, 99), 99);
  assert.equal(percentile(map, 90), 90);
  const stored = bytes(1, ...Array.from({ length: 9 }, () => -10), 127, -128);
  assert.equal(percentile(stored, 90), (10 / 127) ** 2);
  assert.equal(percentile(stored, 99), 1);
  assert.equal(percentile(floats(NaN, Infinity), 90), 0);
  assert.equal(percentile(bytes(0, 0, 0), 90), 0);
});

test("the value of one pixel", () => {
  assert.equal(valueOf(bytes(8, 127, -127, -128), 1), -8);
  assert.ok(Number.isNaN(valueOf(bytes(8, 127, -127, -128), 2)));
  assert.equal(valueOf(floats(1, 2.5), 1), 2.5);
  assert.ok(Number.isNaN(valueOf(floats(1), 7)));
});

test("full colour: of the map, of the probe over time, of all probes and runs; at a percentile", () => {
  const one = { absmax: [3, 20], q99: [0.5, 8] };
  const two = { absmax: [50, 1], q99: [6, 0] };
  const map = floats(2, -1, 0, 0.5);
  const limit = (change: object, own: Record<string, number[]> | undefined = one): number =>
    colourLimit({ ...DEFAULT_VIEW, ...change }, map, own, 0, [one, two]);
  assert.equal(limit({}), 2);
  assert.equal(limit({ scale: "time" }), 3);
  assert.equal(limit({ scale: "all" }), 50);
  assert.equal(limit({ scale: "time", clip: "99" }), 0.5);
  assert.equal(limit({ scale: "all", clip: "99" }), 8);
  assert.equal(colourLimit({ ...DEFAULT_VIEW, scale: "time" }, map, undefined, 0, []), 2); // not known
  assert.equal(limit({ scale: "time", clip: "90" }), 2); // that column was not logged: the map's own 90th percentile
});

const probes: ProbeNames = {
  names: ["Cat one", "cat two", "dog one", "dog two"],
  labels: [0, 0, 1, 1],
  class_names: ["cat", "dog"],
  map_shape: [2, 2],
  image_shape: [2, 2, 1],
  masks: ["stamp", "a:b"],
  hash: "ab",
};
const header = (columns: Record<string, (number | null)[]>): StepHeader => ({ probes: columns }) as unknown as StepHeader;
const here = header({
  prediction: [0, 1, 1, 0],
  drift: [0.1, null, 0.9, 0.4],
  probability: [0.9, 0.2, 0.5, 0.2],
  "mask_mass/stamp": [0.1, 0.7, null, 0.2],
});
const pick = (change: object, headers = [here]): number[][] =>
  selectProbes(probes, headers, { ...DEFAULT_VIEW, ...change }, null).map((group) => group.probes);

test("filters: classes, text in the name, right or wrong now", () => {
  assert.deepEqual(pick({}), [[0, 1, 2, 3]]);
  assert.deepEqual(pick({ classes: [1] }), [[2, 3]]);
  assert.deepEqual(pick({ classes: [] }), [[]]);
  assert.deepEqual(pick({ search: " CAT " }), [[0, 1]]);
  assert.deepEqual(pick({ answers: "right" }), [[0, 2]]);
  assert.deepEqual(pick({ answers: "wrong" }), [[1, 3]]);
  const other = header({ prediction: [1, 0, 1, 1] });
  assert.deepEqual(pick({ answers: "wrong" }, [here, other]), [[0, 1, 3]]); // wrong in any run
  assert.deepEqual(pick({ answers: "wrong" }, [header({})]), [[0, 1, 2, 3]]); // nothing is known yet
  for (const answers of ["right", "wrong"] as const) {
    assert.deepEqual(pick({ answers }, [header({ logit: [1, 2, 3, 4] })]), [[]]); // a region is neither
  }
});

test("orders: by a mask's share, by drift, by probability; no value comes last, ties as given", () => {
  assert.deepEqual(pick({ sort: "mass:stamp" }), [[1, 3, 0, 2]]);
  assert.deepEqual(pick({ sort: "drift" }), [[2, 3, 0, 1]]);
  assert.deepEqual(pick({ sort: "probability" }), [[1, 3, 2, 0]]);
  const other = header({ "mask_mass/stamp": [0.9, 0, null, 0.3], probability: [0.95, 0.9, 0.1, 0.9] });
  assert.deepEqual(pick({ sort: "mass:stamp" }, [here, other]), [[0, 1, 3, 2]]); // the run with more counts
  assert.deepEqual(pick({ sort: "probability" }, [here, other]), [[2, 1, 3, 0]]);
  assert.deepEqual(pick({ sort: "mass:nowhere" }), [[0, 1, 2, 3]]);
  assert.deepEqual(sortings(probes).map(([key]) => key), ["given", "mass:stamp", "mass:a:b", "drift", "probability"]);
});

test("clusters are groups, the first one first, probes without one last", () => {
  const groups = selectProbes(probes, [here], { ...DEFAULT_VIEW, clusters: true, sort: "drift" }, [1, 0, 0, -1]);
  assert.deepEqual(groups, [
    { cluster: 0, probes: [2, 1] },
    { cluster: 1, probes: [0] },
    { cluster: -1, probes: [3] },
  ]);
  assert.deepEqual(pick({ clusters: true }), [[0, 1, 2, 3]]); // none are known
  const found = new Map([[9, [0, 1]], [2, [1, 0]]]);
  assert.deepEqual(clustersAt(found, 9), { step: 9, of: [0, 1] });
  assert.deepEqual(clustersAt(found, 4), { step: 2, of: [1, 0] });
  assert.equal(clustersAt(new Map(), 4), null);
});

test("alerts: limits of the callback, exceeded only above them", () => {
  const limits = alertLimits({ alerts: { stamp: 0.25, other: "x" } });
  assert.deepEqual([...limits], [["stamp", 0.25]]);
  assert.deepEqual(exceeded(limits, () => 0.25), []);
  assert.deepEqual(exceeded(limits, () => 0.2501), ["stamp"]);
  assert.deepEqual(exceeded(limits, () => null), []);
  assert.deepEqual([...alertLimits({}), ...alertLimits(undefined), ...alertLimits({ alerts: null })], []);
});

test("a smoothed map keeps its sum and its place, and what is not finite", () => {
  const dots: HeatMap = { kind: "float", data: new Float32Array(35), absmax: 8, height: 5, width: 7 };
  dots.data[0] = 8; // in a corner: reflected at two edges
  dots.data[2 * 7 + 4] = -2;
  const soft = soften(dots, 1);
  assert.ok(Math.abs([...soft.data].reduce((a, b) => a + b) - 6) < 1e-5);
  assert.equal(soft.absmax, soft.data[0]);
  assert.ok(soft.data[0]! < 8 && soft.data[1]! > 0 && soft.data[2 * 7 + 4]! < 0);
  // A Gaussian of one pixel, cut at three: its middle weight, once across and once down.
  const sum = [-3, -2, -1, 0, 1, 2, 3].reduce((all, x) => all + Math.exp(-x * x / 2), 0);
  const alone: HeatMap = { kind: "float", data: new Float32Array(81), absmax: 1, height: 9, width: 9 };
  alone.data[40] = 1;
  assert.ok(Math.abs(soften(alone, 1).data[40]! - 1 / sum ** 2) < 1e-6);
  assert.equal(soften(dots, 0), dots);
  assert.equal(soften(dots, 1), soft); // the last one is kept
  const broken = soften(floats(NaN, 1, 1), 1);
  assert.ok(Number.isNaN(broken.data[0]!) && broken.data[2]! < 1);
  assert.equal(soften(bytes(4, 127, 0, 0), 2).height, 1);
});

test("maps are compared by eye with what would be subtracted, each at its own full colour; never in a film", () => {
  const frame = (map: HeatMap): Frame => ({ header: { step: 3 }, maps: [map], bytes: 1 }) as unknown as Frame;
  const [a, b] = [floats(4, -2), floats(1, 1)];
  const run = { listing: { run: "a", name: "a" }, steps: [0], info: null, timeline: null, against: frame(b) } as unknown as RunState;
  const view = { ...DEFAULT_VIEW, minus: { step: 0 }, by: "swipe" as const };
  const shown = shownMap(run, frame(a), 0, view, [run]);
  assert.deepEqual([shown.map, shown.limit, shown.isDifference, shown.over], [a, 4, false, { map: b, limit: 1 }]);
  assert.equal(overText(view, [run]), "behind the line: step 0");
  assert.equal(overText({ ...view, by: "blink" }, [run]), "in turn with step 0");
  const film = shownMap(run, frame(a), 0, { ...view, show: "film" }, [run]);
  assert.deepEqual([film.isDifference, film.over], [true, null]);
  assert.equal(shownMap(run, frame(a), 0, { ...view, minus: null }, [run]).over, null);
  assert.equal(shownMap({ ...run, against: null }, frame(a), 0, view, [run]).map, null);
});
