import assert from "node:assert/strict";
import test from "node:test";
import { short } from "../src/data/format";
import { RunOrder } from "../src/state/runcolours";
import { FirstMaps } from "../src/state/firstmaps";
import { Listeners } from "../src/state/listeners";
import { Places } from "../src/state/places";
import { Player } from "../src/state/player";
import { shownQuantities } from "../src/ui/Timeline";
import { mapsInRow, cardHeight } from "../src/ui/layout";
import { mapPoint, pan, settleZoom, transformOf, zoomAt } from "../src/state/zoom";

test("zoom: what lies under the pointer stays there, as far as the edges allow", () => {
  const zoom = zoomAt(null, 4, 0.5, 0.25)!;
  assert.deepEqual(zoom, { times: 4, x: 0.5, y: 0.3125 });
  assert.deepEqual(mapPoint(zoom, 0.5, 0.25), [0.5, 0.25]);
  assert.deepEqual(mapPoint(null, 0.2, 0.9), [0.2, 0.9]);
  const corner = zoomAt(null, 4, 0, 0)!;
  assert.deepEqual(mapPoint(corner, 0, 0), [0, 0]);
  assert.equal(zoomAt(zoom, 1 / 8), null); // back to the whole map
  assert.equal(zoomAt(zoom, 1000)!.times, 16);
});

test("zoom: panning stops at the edges and the transform shows the window", () => {
  const zoom = settleZoom({ times: 2, x: 0.9, y: 0.5 })!;
  assert.deepEqual(zoom, { times: 2, x: 0.75, y: 0.5 });
  assert.deepEqual(pan(zoom, 0.25, 0), { times: 2, x: 0.625, y: 0.5 });
  assert.deepEqual(pan(zoom, -9, 9), { times: 2, x: 0.75, y: 0.25 });
  assert.equal(pan(null, 1, 1), null);
  assert.equal(transformOf(null), "none");
  assert.equal(transformOf(zoom), "translate(-100.000%, -50.000%) scale(2)");
});

test("long names keep their ends", () => {
  assert.equal(short("triangle", 14), "triangle");
  assert.equal(short("abcdefghijklmnopqrstuvwxyz", 10), "abcdef…xyz");
  assert.equal([...short("x".repeat(10_000), 14)].length, 14);
  assert.equal(short("🙂".repeat(20), 10), "🙂🙂🙂🙂🙂🙂…🙂🙂🙂"); // letters are never cut in two
});

test("playing goes on when a step has arrived and stops at the end", async () => {
  let ready = false;
  let steps = 3;
  const seen: string[] = [];
  await new Promise<void>((resolve) => {
    const player = new Player(
      () => 500,
      () => {
        seen.push(ready ? "ready" : "waiting");
        const now = ready;
        ready = true;
        return now;
      },
      () => {
        steps--;
        return steps > 0;
      },
      () => {
        assert.equal(player.playing, false);
        resolve();
      },
    );
    player.play();
    assert.equal(player.playing, true);
  });
  assert.deepEqual(seen, ["waiting", "ready", "ready", "ready"]);
  assert.equal(steps, 0);
});

test("listeners are called once for all that changes, between what comes before and after", async () => {
  const calls: string[] = [];
  const listeners = new Listeners(
    () => false,
    () => calls.push("before"),
    () => calls.push("after"),
  );
  const remove = listeners.add(() => calls.push("drawn"));
  listeners.notify();
  listeners.notify();
  assert.deepEqual(calls, []);
  await Promise.resolve();
  assert.deepEqual(calls, ["before", "drawn", "after"]);
  remove();
  listeners.gather();
  listeners.notify(); // what was gathered is drawn with it, not once more
  await new Promise((done) => setTimeout(done, 150));
  assert.deepEqual(calls.slice(3), ["before", "after"]);
});

test("what waits for the first heatmaps goes on when they are drawn, or late", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const gone: string[] = [];
  const first = new FirstMaps(() => gone.push("late"));
  void first.wait().then(() => gone.push("curves"));
  const settled = async (): Promise<void> => {
    for (let i = 0; i < 4; i++) await Promise.resolve();
  };
  first.loaded(false);
  first.drawn();
  first.loaded(true);
  first.loaded(false); // another view loads: the first one was there
  await settled();
  assert.equal(gone.length, 0);
  first.drawn();
  await first.wait();
  await settled();
  context.mock.timers.tick(5000);
  assert.deepEqual(gone, ["curves"]);
  const slow = new FirstMaps(() => gone.push("late"));
  void slow.wait().then(() => gone.push("groups"));
  context.mock.timers.tick(5000);
  await settled();
  assert.deepEqual([slow.begun, ...gone], [true, "curves", "late", "groups"]);
});

test("timelines: the chosen quantities that there are, at most three; else the most informative one", () => {
  const all = ["a", "b", "c", "d"];
  assert.deepEqual(shownQuantities(null, all), ["a"]);
  assert.deepEqual(shownQuantities(["d", "x", "b", "d"], all), ["d", "b"]);
  assert.deepEqual(shownQuantities(["x"], all), ["a"]);
  assert.deepEqual(shownQuantities(all, all), ["a", "b", "c"]);
  assert.deepEqual(shownQuantities(null, []), []);
});

test("the height of cards out of sight grows with their maps and masks", () => {
  assert.equal(cardHeight(578, 3, 1, 1, 2) - cardHeight(578, 3, 1, 1, 1), 22);
  assert.ok(Math.abs(cardHeight(578, 3, 1, 1, 2) - 362) < 12, String(cardHeight(578, 3, 1, 1, 2)));
  assert.ok(cardHeight(578, 3, 2, 1, 2) > 1.6 * cardHeight(578, 3, 1, 1, 2));
});

test("places: all steps of the runs, the same array until a list changes", () => {
  const places = new Places();
  const lists = [[0, 4, 8], [2, 4]];
  const first = places.take(lists).steps;
  assert.deepEqual(first, [0, 2, 4, 8]);
  assert.equal(places.take([...lists]).steps, first);
  assert.deepEqual([0, 4, 8, 3, null].map((step) => places.indexOf(step)), [0, 2, 3, -1, -1]);
  assert.deepEqual(places.take([lists[0]!, [2, 9]]).steps, [0, 2, 4, 8, 9]);
});

test("runs are numbered in the order they are listed, later ones behind", () => {
  const order = new RunOrder();
  order.take(["b/train", "a/lrp"]);
  order.take(["0/lrp", "a/lrp"]);
  assert.deepEqual(["b/train", "a/lrp", "0/lrp"].map((run) => order.of(run)), [0, 1, 2]);
  assert.equal(order.knows("c/lrp"), false);
});

test("maps of many runs wrap into rows alike, never narrower than a caption", () => {
  assert.equal(mapsInRow(1000, 3, 140), 3);
  assert.equal(mapsInRow(1000, 8, 140), 8);
  assert.equal(mapsInRow(1000, 13, 140), 7);
  assert.equal(mapsInRow(1000, 13, 220), 5);
  assert.equal(mapsInRow(100, 13, 140), 1);
});
