import assert from "node:assert/strict";
import test from "node:test";
import { COLOURS, colourAt, cssGradient, paintHeatMap as paint, paintPicture, type ColourName } from "../src/paint/colormap";
import type { HeatMap } from "../src/data/decode";

const rgba = (word: number): number[] => [word & 255, (word >> 8) & 255, (word >> 16) & 255, word >>> 24];
const paintHeatMap = (map: HeatMap, limit: number, colours: ColourName, overlay: boolean, gamma = 1): Uint32Array =>
  paint(map, { colours, limit, gamma, overlay });
const names = Object.keys(COLOURS) as ColourName[];

test("seismic: white at 0, pure blue and red half way, dark at the ends, clipped beyond", () => {
  assert.deepEqual(colourAt("seismic", 0), [255, 255, 255]);
  assert.deepEqual(colourAt("seismic", 0.5), [255, 0, 0]);
  assert.deepEqual(colourAt("seismic", -0.5), [0, 0, 255]);
  assert.deepEqual(colourAt("seismic", 0.25), [255, 128, 128]);
  assert.deepEqual(colourAt("seismic", 9), [128, 0, 0]);
  assert.deepEqual(colourAt("seismic", -9), [0, 0, 77]);
});

test("a stored map and the same map as numbers get the same colours; the limit scales both", () => {
  const q = Int8Array.from([127, -127, 0, 90, -30, 12]);
  const stored: HeatMap = { kind: "sqrt8", data: q, absmax: 4, height: 2, width: 3 };
  const values = Float32Array.from(q, (v) => Math.sign(v) * (v / 127) ** 2 * 4);
  const plain: HeatMap = { kind: "float", data: values, absmax: 4, height: 2, width: 3 };
  for (const name of names) {
    for (const limit of [4, 8, 1]) {
      assert.deepEqual(paintHeatMap(stored, limit, name, false), paintHeatMap(plain, limit, name, false));
    }
  }
  assert.deepEqual(rgba(paintHeatMap(stored, 4, "seismic", false)[0]!), [128, 0, 0, 255]);
  assert.deepEqual(rgba(paintHeatMap(stored, 8, "seismic", false)[0]!), [255, 0, 0, 255]);
  assert.deepEqual(rgba(paintHeatMap(stored, 8, "seismic", false)[2]!), [255, 255, 255, 255]);
});

test("pixels that are not finite are grey, and a map of zeros has the centre's colour", () => {
  const broken: HeatMap = { kind: "sqrt8", data: Int8Array.from([-128, 5]), absmax: 1, height: 1, width: 2 };
  assert.deepEqual(rgba(paintHeatMap(broken, 1, "seismic", false)[0]!), [128, 128, 128, 255]);
  const nan: HeatMap = { kind: "float", data: Float32Array.from([NaN, Infinity]), absmax: 0, height: 1, width: 2 };
  assert.deepEqual([...paintHeatMap(nan, 1, "safe", true)].map(rgba), [[128, 128, 128, 255], [128, 128, 128, 255]]);
  const zeros: HeatMap = { kind: "sqrt8", data: new Int8Array(2), absmax: 0, height: 1, width: 2 };
  for (const name of names) {
    assert.deepEqual(rgba(paintHeatMap(zeros, 0, name, false)[1]!).slice(0, 3), colourAt(name, 0));
  }
});

test("over an input the opacity is the strength and the colour the sign", () => {
  const map: HeatMap = { kind: "float", data: Float32Array.from([1, -0.5, 0]), absmax: 1, height: 1, width: 3 };
  const [strong, half, none] = [...paintHeatMap(map, 1, "seismic", true)].map(rgba);
  assert.deepEqual(strong, [255, 0, 0, 255]);
  assert.deepEqual(half, [0, 0, 255, 128]);
  assert.equal(none![3], 0);
});

test("gamma raises the strength of a colour, not its sign: the table holds the power of each value", () => {
  const map: HeatMap = { kind: "float", data: Float32Array.from([0.25, -0.25, 1]), absmax: 1, height: 1, width: 3 };
  const [weak, against, full] = [...paintHeatMap(map, 1, "seismic", false, 0.5)].map(rgba);
  assert.deepEqual(weak!.slice(0, 3), colourAt("seismic", 0.5));
  assert.deepEqual(against!.slice(0, 3), colourAt("seismic", -0.5));
  assert.deepEqual(full!.slice(0, 3), colourAt("seismic", 1));
  assert.equal(rgba(paintHeatMap(map, 1, "seismic", true, 2)[0]!)[3], 16); // 255 / 16
});

test("the positive-only map shows nothing of what is negative, beside the input or over it", () => {
  const map: HeatMap = { kind: "float", data: Float32Array.from([-1, 0, 1]), absmax: 1, height: 1, width: 3 };
  const alone = [...paintHeatMap(map, 1, "positive", false)];
  assert.equal(alone[0], alone[1]);
  assert.notEqual(alone[2], alone[1]);
  assert.deepEqual([...paintHeatMap(map, 1, "positive", true)].map((word) => rgba(word)[3]), [0, 0, 255]);
  assert.match(cssGradient("positive"), /^linear-gradient\(to right, rgb\(10,10,12\) 0%, .* 100%\)$/);
  assert.match(cssGradient("seismic"), /rgb\(255,255,255\) 50%/);
});

test("RdBu has ColorBrewer's classes, red for what is positive", () => {
  assert.deepEqual(colourAt("rdbu", 1), [103, 0, 31]);
  assert.deepEqual(colourAt("rdbu", 0), [247, 247, 247]);
  assert.deepEqual(colourAt("rdbu", -0.6), [67, 147, 195]);
  assert.deepEqual(colourAt("bwr", 0.5), [255, 128, 128]);
});

test("pictures keep their colours, or become their luminance", () => {
  const picture = { data: Uint8Array.from([255, 0, 0, 10, 20, 30]), height: 1, width: 2, channels: 3 };
  assert.deepEqual([...paintPicture(picture, false)].map(rgba), [[255, 0, 0, 255], [10, 20, 30, 255]]);
  assert.deepEqual([...paintPicture(picture, true)].map(rgba), [[76, 76, 76, 255], [18, 18, 18, 255]]);
  const grey = { data: Uint8Array.from([7, 9]), height: 1, width: 2, channels: 1 };
  assert.deepEqual([...paintPicture(grey, false)].map(rgba), [[7, 7, 7, 255], [9, 9, 9, 255]]);
});

// Simulation of the full dichromacies in linear RGB: Machado, Oliveira, Fernandes 2009, severity 1.
const DICHROMACIES: Record<string, number[][]> = {
  protanopia: [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
  deuteranopia: [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
  tritanopia: [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
};

function lab(rgb: number[], matrix: number[][] | null): number[] {
  let linear = rgb.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  if (matrix) linear = matrix.map((row) => Math.min(1, Math.max(0, row.reduce((s, m, i) => s + m * linear[i]!, 0))));
  const [r, g, b] = linear as [number, number, number];
  const f = (t: number): number => (t > 0.008856 ? Math.cbrt(t) : 7.787 * t + 16 / 116);
  const x = f((0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505);
  const y = f(0.2126 * r + 0.7152 * g + 0.0722 * b);
  const z = f((0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089);
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}

test("the colour-blind safe map separates for from against, and both from zero, with every dichromacy", () => {
  for (const matrix of [null, ...Object.values(DICHROMACIES)]) {
    for (const t of [0.25, 0.5, 0.75, 1]) {
      const [plus, minus, zero] = [t, -t, 0].map((v) => lab(colourAt("safe", v), matrix));
      const apart = (a: number[], b: number[]): number => Math.hypot(...a.map((v, i) => v - b[i]!));
      assert.ok(apart(plus!, minus!) > 20, `+-${t}: ${apart(plus!, minus!)}`);
      assert.ok(apart(plus!, zero!) > 15 && apart(minus!, zero!) > 15);
    }
  }
});
