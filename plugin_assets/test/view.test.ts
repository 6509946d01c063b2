import assert from "node:assert/strict";
import test from "node:test";
import type { ProbeNames } from "../src/data/types";
import { InView } from "../src/state/inview";
import { readHash, writeHash } from "../src/state/hash";
import { DEFAULT_VIEW, fromParameters, toParameters, type View } from "../src/state/view";

test("a view survives the way through the URL, whatever the names hold", () => {
  const view: View = {
    channels: "layer=conv_3&class=1",
    page: "runs",
    find: "/seed_\\d & more/",
    listed: "name",
    runs: ["a,b/lrp", "<img src=x>", "50% & more=#\u202e"],
    step: 940,
    show: "overlay",
    opacity: 0.35,
    minus: { run: "a,b/lrp" },
    colours: "safe",
    scale: "time",
    clip: "99",
    gamma: "0.5",
    soft: "2",
    by: "swipe",
    outlines: false,
    size: "l",
    zoom: { times: 2.5, x: 0.25, y: 1 },
    classes: [0, 12],
    answers: "wrong",
    search: "tri & <b>",
    sort: "mass:a b",
    clusters: true,
    speed: "16",
    tensor: "conv2d/kernel=&",
    glance: "zeros",
    layers: "conv & <b>",
    drawn: "histograms",
    ranked: "change",
    plots: "ridge",
    quantities: ["lrp/mask_mass/a b", "lrp/drift"],
    axis: "relative",
    smooth: "0.9",
    range: [-0.5, 1e6],
    features: "given",
    slice: 0.25,
    probe: { hash: "ab".repeat(32), index: 3 },
    marks: ["94:here, it turns & <b>", "3:x"],
  };
  const hash = writeHash("#lrp_monitor", toParameters(view));
  assert.match(hash, /^#lrp_monitor&p\.lrp_monitor\.page=/);
  assert.deepEqual(fromParameters(readHash(hash).own), view);
});

test("the default view leaves no trace in the URL and an empty hash is the default view", () => {
  assert.equal(writeHash("#lrp_monitor", toParameters(DEFAULT_VIEW)), "#lrp_monitor");
  assert.deepEqual(fromParameters(readHash("#lrp_monitor").own), DEFAULT_VIEW);
});

const there = (view: View): View => fromParameters(readHash(writeHash("#lrp_monitor", toParameters(view))).own);

test("every choice alone survives the way through the URL", () => {
  const choices: Partial<View>[] = [
    { minus: { step: 0 } },
    { minus: { run: "step:3" } },
    { zoom: { times: 16, x: 0, y: 0.125 } },
    { opacity: 0 },
    { opacity: 1 },
    { colours: "positive" },
    { colours: "rdbu" },
    { scale: "all" },
    { clip: "90" },
    { show: "film" },
    { sort: "drift" },
    { classes: [7] },
    { search: " " },
  ];
  for (const choice of choices) assert.deepEqual(there({ ...DEFAULT_VIEW, ...choice }), { ...DEFAULT_VIEW, ...choice });
});

test("choosing nothing is not the same as not choosing", () => {
  const none = { ...DEFAULT_VIEW, runs: [], classes: [], quantities: [] };
  assert.deepEqual(there(none), none);
});

test("what others keep in the hash stays as it was, ours is replaced", () => {
  const hash = "#lrp_monitor&tagFilter=a%20b&p.lrp_monitor.step=3&p.other.step=4";
  assert.equal(writeHash(hash, new Map([["step", "5"]])), "#lrp_monitor&tagFilter=a%20b&p.other.step=4&p.lrp_monitor.step=5");
  assert.deepEqual([...readHash(hash).own], [["step", "3"]]);
});

test("nonsense falls back to the default", () => {
  const own = new Map(Object.entries({ step: "-1", show: "movie", colours: "__proto__", opacity: "7", size: "", axis: "x", range: "3,3", smooth: "2", minus: "step:x",
    zoom: "1e9,0,0", classes: "1,-2", sort: "mass:", clip: "50", probe: "1@zz", clusters: "yes", speed: "-1" }));
  assert.deepEqual(fromParameters(own), DEFAULT_VIEW);
  assert.deepEqual(fromParameters(readHash("#lrp_monitor&p.lrp_monitor.runs=%E0%A4%A").own).runs, ["%E0%A4%A"]);
});

test("near are the probes of a screen above and below those shown, of few runs some more", () => {
  const inView = new InView();
  const order = Array.from({ length: 40 }, (_, i) => (7 * i) % 40); // sorted by a figure
  const probes = { hash: "ab", names: order.map(String) } as unknown as ProbeNames;
  const seen = (change: object = {}): unknown => inView.of({ ...DEFAULT_VIEW, ...change }, probes);
  assert.equal(seen(), null);
  assert.equal(inView.put("ab", order, order.slice(12, 15), 12), true);
  assert.deepEqual(seen(), { order, shown: order.slice(12, 15), near: order.slice(9, 18) });
  assert.equal(inView.put("ab", order, order.slice(12, 15), 12), false);
  inView.put("ab", order, order.slice(12, 15), 3);
  assert.deepEqual(inView.of(DEFAULT_VIEW, probes)!.near, order.slice(4, 23));
  inView.put("ab", order, order.slice(12, 15), 1); // few: all at once
  assert.deepEqual(seen(), { order, shown: order, near: order });
  inView.put("ab", order, [], 4); // scrolled away
  assert.deepEqual(inView.of(DEFAULT_VIEW, probes)!.near, []);
  inView.all = true;
  assert.deepEqual(seen(), { shown: order, near: order });
  const none = { shown: [], near: [] };
  assert.deepEqual(seen({ page: "runs" }), none);
  assert.deepEqual(seen({ probe: { hash: "ab", index: 3 } }), { shown: [3], near: [] });
  assert.deepEqual([seen({ probe: { hash: "cd", index: 3 } }), seen({ probe: { hash: "ab", index: 40 } })], [none, none]);
});
