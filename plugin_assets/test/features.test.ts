// What the view of features chooses, orders and draws.
import assert from "node:assert/strict";
import { test } from "node:test";
import { curvePath, ordered, placeOf, readChoice, stepAt, writeChoice } from "../src/features/choice";

test("a choice survives its address", () => {
  const choice = { layer: "a/conv & 3", of: -1, order: "mass:a=b", pinned: 0, over: true, open: { run: "x/y", channel: 7, probe: null } };
  assert.deepEqual(readChoice(writeChoice(choice)), choice);
  assert.equal(writeChoice(readChoice("")), "");
});

test("what makes no sense in an address is left at its default", () => {
  const nothing = readChoice("");
  assert.deepEqual(readChoice("order=drop&class=x&pinned=1e9&channel=3&over=yes"), nothing);
  assert.equal(readChoice("run=a&channel=-1").open, null);
});

test("channels are ordered by their key, what has none last, equal ones by their share", () => {
  assert.deepEqual(ordered([0.1, NaN, 0.3, 0.1], [0, 9, 0, 1]), [2, 3, 0, 1]);
  assert.deepEqual(ordered(new Float32Array([0, 0, 0]), new Float32Array([0, 0, 0])), [0, 1, 2]);
});

test("a curve spans its box, and a place on it means the nearest step", () => {
  assert.equal(curvePath([0, 0.5, 1], 100, 34), "M0.0 33.0L50.0 17.0L100.0 1.0");
  assert.equal(curvePath([0, 0], 100, 34), "M0.0 33.0L100.0 33.0");
  assert.equal(stepAt([0, 8, 64], 0.6), 8);
  assert.equal(stepAt([0, 8, 64], 7), 64);
  assert.equal(stepAt([], 0.5), null);
  assert.equal(placeOf([0, 8, 64], 60), 1);
  assert.equal(placeOf([], 3), null);
});
