// Colours of runs: TensorBoard's own palette, so that a run has one colour everywhere.
// Colours that a user gives by hand or by a regular expression are known to TensorBoard's own page alone.
import { COLOURS } from "../state/runcolours";

const LIGHT = ["#425066", "#12b5cb", "#e52592", "#f9ab00", "#9334e6", "#7cb342", "#e8710a"];
const DARK = ["#8e98a3", ...LIGHT.slice(1)];

/** A run's colour as a CSS value that follows the theme. */
export const runColour = (order: number): string => `var(--run-${order % COLOURS})`;

/** Declarations of the run colours for the page's style sheet. */
export const runColourRules = (theme: "light" | "dark"): string =>
  (theme === "light" ? LIGHT : DARK).map((colour, i) => `--run-${i}: ${colour};`).join(" ");

const DASHES = ["none", "7 3.5", "1.5 4", "9 3 1.5 3"];

/** How a run's line is drawn where others have its colour: a CSS stroke-dasharray. */
export const runDash = (pattern: number): string => DASHES[pattern % DASHES.length]!;
