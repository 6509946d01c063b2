import assert from "node:assert/strict";
import test from "node:test";
import { readHash, writeHash } from "../src/hash";
import { DEFAULT_VIEW, fromParameters, toParameters, type View } from "../src/view";

test("a view survives the way through the URL, whatever the names hold", () => {
  const view: View = {
    runs: ["a,b/lrp", "<img src=x>", "50% & more=#\u202e"],
    step: 940,
    show: "overlay",
    opacity: 0.35,
    colours: "safe",
    scale: "time",
    outlines: false,
    size: "l",
    tensor: "conv2d/kernel=&",
    quantity: "lrp/mask_mass/a b",
    axis: "steps",
  };
  const hash = writeHash("#lrp_monitor", toParameters(view));
  assert.match(hash, /^#lrp_monitor&p\.lrp_monitor\.runs=/);
  assert.deepEqual(fromParameters(readHash(hash).own), view);
});

test("the default view leaves no trace in the URL and an empty hash is the default view", () => {
  assert.equal(writeHash("#lrp_monitor", toParameters(DEFAULT_VIEW)), "#lrp_monitor");
  assert.deepEqual(fromParameters(readHash("#lrp_monitor").own), DEFAULT_VIEW);
});

test("choosing no run is not the same as not choosing", () => {
  const none = { ...DEFAULT_VIEW, runs: [] };
  assert.deepEqual(fromParameters(readHash(writeHash("#lrp_monitor", toParameters(none))).own).runs, []);
});

test("what others keep in the hash stays as it was, ours is replaced", () => {
  const hash = "#lrp_monitor&tagFilter=a%20b&p.lrp_monitor.step=3&p.other.step=4";
  assert.equal(writeHash(hash, new Map([["step", "5"]])), "#lrp_monitor&tagFilter=a%20b&p.other.step=4&p.lrp_monitor.step=5");
  assert.deepEqual([...readHash(hash).own], [["step", "3"]]);
});

test("nonsense falls back to the default", () => {
  const own = new Map(Object.entries({ step: "-1", show: "film", colours: "__proto__", opacity: "7", size: "", axis: "x" }));
  assert.deepEqual(fromParameters(own), DEFAULT_VIEW);
  assert.deepEqual(fromParameters(readHash("#lrp_monitor&p.lrp_monitor.runs=%E0%A4%A").own).runs, ["%E0%A4%A"]);
});
