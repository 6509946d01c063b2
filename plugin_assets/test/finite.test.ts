// Texts on what is not finite, and on what is undefined.
import assert from "node:assert/strict";
import { test } from "node:test";
import { allFinite, type HeatMap } from "../src/data/decode";
import { atStep, behind, mapBroken, shortText, spansOf, spanText, unpredicted, whyUndefined } from "../src/data/finite";
import { predictionName } from "../src/data/format";
import { selectProbes, unjudged } from "../src/state/selection";
import type { ProbeNames, StepHeader, StepInfo } from "../src/data/types";

const steps = (...counts: (Record<string, number> | null)[]): StepInfo[] =>
  counts.map((nonfinite, step) => ({ step, ...(nonfinite && { nonfinite }) })) as StepInfo[];

test("spans of steps that are not finite: to the end, at one step, in between", () => {
  const logits = steps(null, { logits: 2 }, null, { logits: 1 }, { logits: 8, weights: 1 }, null, { logits: 8, heatmaps: 8 });
  assert.deepEqual(spansOf(logits).map(spanText), [
    "logits of 2 probes not finite at step 1",
    "logits of 8 probes not finite at steps 3 to 4",
    "1 weight not finite at step 4",
    "logits of 8 probes not finite since step 6",
    "heatmaps of 8 probes not finite since step 6",
  ]);
  assert.deepEqual(shortText(spansOf(logits)).at(-1), "logits, heatmaps not finite since step 6");
  assert.equal(spansOf(logits), spansOf(logits));
  assert.deepEqual(spansOf([]), []);
  assert.equal(atStep(logits[4]!), "logits of 8 probes, 1 weight");
  assert.equal(atStep(logits[0]!), "");
});

const header = (probes: Record<string, (number | null)[]>): StepHeader => ({ probes }) as StepHeader;

test("why a share is undefined: broken, zero, negative, too little, or no mask", () => {
  const one = header({
    sum: [null, 0, -4, -0.96, 1, 1, -1],
    positive: [null, 0, 0, 0.02, 1, 1, 0],
    negative: [null, 0, -4, -0.98, 0, 0, -1],
    "mask_mass/m": [null, null, null, null, null, 0.5, null],
    "mask_absolute/m": [null, null, 0.25, 0.5, null, 0.5, null],
  });
  assert.deepEqual(
    [0, 1, 2, 3, 4, 6].map((index) => whyUndefined(one, "m", index)[0]),
    ["not finite", "undefined", "undefined", "undefined", "no mask", "no mask"],
  );
  assert.match(whyUndefined(one, "m", 2)[1], /No relevance is positive.*Of all \|relevance\|, 25 % lies inside/);
  assert.match(whyUndefined(one, "m", 3)[1], /Only 2.0 % of the \|relevance\| is positive/);
  // An earlier run: no share of all |relevance|, and a share of positive relevance wherever there was any.
  const old = header({ sum: [-4, 1], positive: [0, 0.01], negative: [-4, -1], "mask_mass/m": [null, null] });
  assert.deepEqual([0, 1].map((index) => whyUndefined(old, "m", index)[0]), ["undefined", "no mask"]);
  assert.deepEqual(whyUndefined(header({}), "m", 0), ["–", ""]);
  assert.deepEqual(whyUndefined(null, "m", 0), ["–", ""]);
});

test("a map is finite where every value is", () => {
  const of = (data: Float32Array | Int8Array, kind: "float" | "sqrt8"): HeatMap => ({ kind, data, absmax: 1, height: 1, width: 2 }) as HeatMap;
  assert.deepEqual(
    [of(Int8Array.of(-127, 0), "sqrt8"), of(Int8Array.of(-128, 0), "sqrt8"), of(Float32Array.of(-128, 0), "float")].map(allFinite),
    [true, false, true],
  );
  assert.deepEqual([NaN, Infinity].map((value) => allFinite(of(Float32Array.of(0, value), "float"))), [false, false]);
});

const probes = { names: ["a", "b", "c"], labels: [0, 0, 0], class_names: ["x"], masks: ["m"], carried: { m: 2 } } as unknown as ProbeNames;

test("no prediction is neither right nor wrong, and not unknown", () => {
  const one = header({ prediction: [0, 1, null], sum: [1, 1, null] });
  const view = { classes: null, search: "", sort: "given", clusters: false } as const;
  const shown = (answers: "all" | "right" | "wrong"): number[] => selectProbes(probes, [one], { ...view, answers }, null)[0]!.probes;
  assert.deepEqual([shown("all"), shown("right"), shown("wrong")], [[0, 1, 2], [0], [1]]);
  assert.deepEqual([0, 2].map((index) => [unpredicted(one, index), mapBroken(one, index)]), [[false, false], [true, true]]);
  assert.equal(unpredicted(header({}), 0), false);
  assert.deepEqual([predictionName(probes, null), predictionName(probes, undefined), predictionName(probes, 0)], ["none", "–", "x"]);
});

test("how many probes stand behind a mean, and limits that cannot be judged", () => {
  assert.equal(behind(1, probes, "m"), "1 of 2 probes");
  assert.equal(behind(1, { ...probes, carried: {} }, "m"), "1 of 3 probes");
  assert.equal(behind(null, probes, "m"), null);
  assert.deepEqual(unjudged(new Map([["m", 0.5], ["n", 0.5]]), { "lrp/mask_mass/n": 0.1 }), ["m"]);
  assert.deepEqual(unjudged(new Map([["m", 0.5]]), undefined), []);
});
