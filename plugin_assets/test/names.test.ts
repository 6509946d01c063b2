import assert from "node:assert/strict";
import test from "node:test";
import type { RunListing } from "../src/data/types";
import { sortRows, tableCsv } from "../src/runs/RunTable";
import { firstChoice, groupRuns, liveness, newestFirst, searchOf, sharedParts, spanOfTime, distinctPart } from "../src/state/names";
import { assignPatterns } from "../src/state/runcolours";
import { usual } from "../src/help/Help";
import { curves, figures, histograms } from "../src/share/tables";
import { csv } from "../src/ui/files";

const names = ["net/lr_0.1/a_seed_1_cosine", "net/lr_0.1/a_seed_2_cosine", "net/lr_0.01/a_seed_1_cosine"];

test("names are shortened by what all share, cut between their parts", () => {
  const shared = sharedParts(names);
  assert.deepEqual(shared, { start: "net/", end: "_cosine" });
  assert.deepEqual(names.map((name) => distinctPart(name, shared)), ["lr_0.1/a_seed_1", "lr_0.1/a_seed_2", "lr_0.01/a_seed_1"]);
  assert.deepEqual(sharedParts(["run_1_x", "run_2_x"]), { start: "run_", end: "_x" });
  for (const same of [[], ["alone"], ["twice", "twice"]]) assert.deepEqual(sharedParts(same), { start: "", end: "" });
  // Of none is everything shared, and none is cut inside of a word.
  for (const some of [["a_", "a_b"], ["seed12", "seed13"], ["a", "a/b"], ["x/y", "x/y/z"], ["", "b"]]) {
    const parts = sharedParts(some);
    assert.equal(new Set(some.map((name) => distinctPart(name, parts))).size, 2);
  }
  assert.deepEqual(sharedParts(["seed12", "seed13"]), { start: "", end: "" });
});

const listing = (name: string, more: Partial<RunListing> = {}): { listing: RunListing } => ({
  listing: { run: `${name}/lrp`, name, session: "ab", steps: 3, last_step: 2, probes_hash: "p", problems: [], ...more },
});

test("runs are grouped by the first folder that differs", () => {
  const runs = names.map((name) => listing(name));
  assert.deepEqual(groupRuns(runs, "net/").map(({ title, runs: members }) => [title, members.length]), [["lr_0.1", 2], ["lr_0.01", 1]]);
  for (const flat of [["a", "b"], ["a/x", "a/y"], ["a/x", "b/y"]]) {
    assert.deepEqual(groupRuns(flat.map((name) => listing(name)), "").map(({ title }) => title), [""]);
  }
});

test("the newest run is first, and chosen first with the next of the same probes", () => {
  const runs = [listing("a", { last_logged: 5 }), listing("b", { last_logged: 9, probes_hash: "q" }), listing("c", { last_logged: 7, probes_hash: "q" }), listing("d", { error: "x", last_logged: 99 }), listing("e")];
  assert.deepEqual(newestFirst(runs).map((run) => run.listing.name), ["d", "b", "c", "a", "e"]);
  assert.deepEqual(firstChoice(runs).map((run) => run.listing.name), ["b", "c"]);
});

test("a search is a text of whatever case, or a pattern between slashes that may be wrong", () => {
  assert.deepEqual(["Seed_1", "x"].map(searchOf("seed").fits), [true, false]);
  assert.deepEqual(["seed_1", "seed_x"].map(searchOf("/seed_\\d$/").fits), [true, false]);
  const wrong = searchOf("/(/");
  assert.ok(wrong.error);
  assert.equal(wrong.fits("("), false);
  assert.equal(searchOf(" ").fits("anything"), true);
});

test("a run has ended, goes on, or is silent for five times as long as usual", () => {
  const { listing: run } = listing("a", { first_logged: 0, last_logged: 2000, steps: 3 });
  assert.equal(liveness(run, 6900), "live");
  assert.equal(liveness(run, 7100), "stalled");
  assert.equal(liveness({ ...run, ended: true }, 7100), "ended");
  assert.equal(liveness({ ...run, last_logged: null }, 7100), null);
  assert.deepEqual([0, 80, 100, 7200, 200_000].map(spanOfTime), ["0 s", "80 s", "2 min", "2 h", "2 days"]);
});

test("the table's rows by a curve's last value, those without one last either way", () => {
  const rows = [listing("a", { values: { x: 2 } }), listing("b"), listing("c", { values: { x: null } }), listing("d", { values: { x: 5 } })].map((run) => run.listing);
  assert.deepEqual(sortRows(rows, { by: "x", down: true }).map(({ name }) => name), ["d", "a", "b", "c"]);
  assert.deepEqual(sortRows(rows, { by: "x", down: false }).map(({ name }) => name), ["a", "d", "b", "c"]);
  assert.deepEqual(sortRows(rows, { by: "name", down: true }).map(({ name }) => name), ["d", "c", "b", "a"]);
  assert.equal(tableCsv([listing('=1+"x", y', { values: { x: 2 } }).listing], ["x"]), 'run,steps,last_step,last_logged,x\r\n"\'=1+""x"", y",3,2,,2\r\n');
});

test("chosen runs of one colour get other shapes", () => {
  const runs = [0, 7, 1, 14].map((order) => ({ order, pattern: 9 }));
  assignPatterns(runs);
  assert.deepEqual(runs.map(({ pattern }) => pattern), [0, 1, 0, 2]);
});

test("what is usual is known of every composite with something to remark", () => {
  for (const name of ["epsilon_plus", "epsilon_plus_flat", "epsilon_alpha2_beta1_flat", "deep_taylor", "epsilon", "lrp_zero", "attn_lrp", "cp_lrp", "epsilon_gamma_box"]) {
    assert.ok(usual(name), name);
  }
  assert.match(usual("epsilon_alpha2_beta1")!, /blue/);
  assert.equal(usual("my own"), null);
});

test("curves as a table: a row a run and step, nothing where a run has no value", () => {
  const run = (name: string, scalars: Record<string, (number | null)[]>): unknown => ({
    listing: { name },
    info: { steps: [{ epoch: 0, batch: 0, wall_time: 5 }, { epoch: 1, batch: 9, wall_time: 6 }] },
    timeline: { steps: [0, 3], scalars, probes: {} },
  });
  const runs = [run("a,b", { x: [1, null] }), run("c", { y: [2, 3] })];
  assert.equal(
    csv(curves({ selected: () => runs as never })),
    'run,step,epoch,batch,wall_time,x,y\r\n"a,b",0,0,0,5,1,\r\n"a,b",3,1,9,6,,\r\nc,0,0,0,5,,2\r\nc,3,1,9,6,,3\r\n',
  );
});

test("figures are a row a probe, histograms a row a bucket with zeros at 0 and what is not finite last", () => {
  const answer = { size: 9, zeros: 2, denormals: 1, nan: 1, inf: 0, minimum: -1.25, maximum: 1.25, norm: 1, note: "", buckets: [508, 1532], counts: [3, 2] };
  const run = {
    listing: { name: "a" },
    info: { probes: { names: ["p", "q"], labels: [1, 0] } },
    frame: { header: { step: 4, probes: { sum: [0.5, null], drift: [1, 2] } } },
    histograms: { weight: { step: 4, tensor: "k", answer }, gradient: { step: 4, tensor: "k", answer: { ...answer, note: "no gradient" } } },
  };
  const model = { selected: () => [run] as never };
  assert.equal(csv(figures(model)), "run,step,probe,label,drift,sum\r\na,4,p,1,1,0.5\r\na,4,q,0,2,\r\n");
  assert.deepEqual(histograms(model).slice(1), [
    ["a", 4, "weight", "k", -1.25, -1, 2],
    ["a", 4, "weight", "k", 0, 0, 3],
    ["a", 4, "weight", "k", 1, 1.25, 3],
    ["a", 4, "weight", "k", null, null, 1],
  ]);
});
