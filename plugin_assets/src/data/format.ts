// Numbers and names as text on the page.
import type { ProbeNames } from "./types";

/** Three significant digits, as `lrp_monitor/text.py` writes them; a dash where there is no number. */
export function number(value: number | null | undefined): string {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text =
    size >= 1e5 || size < 1e-4
      ? value.toExponential(2).replace("e+", "e")
      : value.toFixed(Math.max(0, 2 - Math.floor(Math.log10(size))));
  return text.replace("-", "−").replace("e-", "e−");
}

/** A share (0 ... 1) in per cent; below a tenth of one with two significant digits. */
export function percent(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const p = 100 * value;
  if (p !== 0 && Math.abs(p) < 0.0995) return `${smallPercent(p)} %`;
  const size = Math.abs(p);
  // Below a tenth of a per cent one significant digit: 0.0 % would read as nothing.
  const digits = p >= 99.95 || p === 0 ? 0 : size < 0.095 ? Math.min(20, Math.ceil(-Math.log10(size))) : size < 9.95 || p >= 98.95 ? 1 : 0;
  return `${p.toFixed(digits).replace("-", "−")} %`;
}

function smallPercent(p: number): string {
  const size = Math.abs(p);
  const text = size < 1e-4 ? p.toExponential(1) : p.toFixed(1 - Math.floor(Math.log10(size)));
  return text.replace("-", "−").replace("e-", "e−");
}

/** A count with thin gaps between the thousands. */
export function count(value: number): string {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** A name with its middle left out where it is longer than `most` characters. */
export function short(name: string, most: number): string {
  const letters = [...name.slice(0, 4096)];
  if (letters.length <= most && name.length <= 4096) return name;
  const tail = Math.floor((most - 1) / 3);
  return `${letters.slice(0, most - 1 - tail).join("")}…${[...name.slice(-2 * tail)].slice(-tail).join("")}`;
}

/** The name of a class, or "class 3" where the run gives no names. */
export function className(probes: ProbeNames, index: number | null | undefined): string {
  if (index === null || index === undefined || !Number.isFinite(index)) return "–";
  return probes.class_names?.[index] ?? `class ${index}`;
}

/** What a model answers: the name of a class, "none" for logits that are not finite (null). */
export const predictionName = (probes: ProbeNames, index: number | null | undefined): string =>
  index === null ? "none" : className(probes, index);

const QUANTITIES: Record<string, string> = {
  "lrp/drift": "Drift since the log before",
  "lrp/conservation": "Sum of relevance / logit",
  "lrp/probability": "Probability of the explained class",
  "lrp/accuracy": "Accuracy on the probes",
  "lrp/label_accuracy": "Share of the probes’ labels that are right",
  "lrp/mean_absolute_error": "Mean absolute error on the probes",
  "lrp/nonfinite/logits": "Probes with logits that are not finite",
  "lrp/nonfinite/heatmaps": "Probes with heatmaps that are not finite",
  "lrp/nonfinite/loss": "Losses that are not finite",
  "gradients/norm": "Gradient norm, all layers",
  "probe_gradients/norm": "Gradient norm on the probes, all layers",
  "weights/norm": "Weight norm, all layers",
  "weights/update_ratio": "Update / weight, all layers",
  "gradients/nonfinite": "Gradients that are not finite",
  "probe_gradients/nonfinite": "Gradients on the probes that are not finite",
  "weights/nonfinite": "Weights that are not finite",
};

/** A title of a scalar's tag for people. */
export function quantityTitle(tag: string): string {
  const known = QUANTITIES[tag];
  if (known !== undefined) return known;
  const mask = /^lrp\/mask_mass\/(.*)$/s.exec(tag);
  if (mask) return `Relevance in “${mask[1]}”`;
  const absolute = /^lrp\/mask_absolute\/(.*)$/s.exec(tag);
  if (absolute) return `|Relevance| in “${absolute[1]}”`;
  const probes = /^lrp\/mask_probes\/(.*)$/s.exec(tag);
  if (probes) return `Probes behind “Relevance in “${probes[1]}””`;
  const norm = /^(weights|gradients|probe_gradients)\/norm\/(.*)$/s.exec(tag);
  if (norm) return `${norm[1] === "weights" ? "Weight" : "Gradient"} norm of ${norm[2]}`;
  const update = /^weights\/update_ratio\/(.*)$/s.exec(tag);
  if (update) return `Update / weight of ${update[1]}`;
  const zero = /^(?:probe_)?gradients\/zero_fraction\/(.*)$/s.exec(tag);
  if (zero) return `Share of zero gradients in ${zero[1]}`;
  return tag;
}

/** Whether a scalar is a share that reads best in per cent. */
export function isShare(tag: string): boolean {
  return /^lrp\/(mask_mass\/|mask_absolute\/|probability|accuracy|label_accuracy|drift)/.test(tag) || /^(probe_)?gradients\/zero_fraction\//.test(tag);
}

/** How much training lies behind a step: "3 epochs, 282 batches". */
export function position(epoch: number, batch: number): string {
  if (batch === 0) return "before training";
  const batches = plural(batch, "batch", "batches");
  return epoch === 0 ? batches : `${plural(epoch, "epoch")}, ${batches}`;
}

/** Whether a scalar is one of a single tensor. */
export const ofTensor = (tag: string): boolean => /^(weights|gradients|probe_gradients)\/[a-z_]+\/./s.test(tag);
