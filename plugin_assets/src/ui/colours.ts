// Colours of runs. Red and blue belong to the heatmaps and are left out.
const LIGHT = ["#00796b", "#b06000", "#8e24aa", "#5a6872", "#558b2f", "#a0527a", "#6d4c41"];
const DARK = ["#4db6ac", "#ffb74d", "#ce93d8", "#b0bec5", "#aed581", "#f3a6c4", "#bcaaa4"];

/** A run's colour as a CSS value that follows the theme. */
export const runColour = (order: number): string => `var(--run-${order % LIGHT.length})`;

/** Declarations of the run colours for the page's style sheet. */
export const runColourRules = (theme: "light" | "dark"): string =>
  (theme === "light" ? LIGHT : DARK).map((colour, i) => `--run-${i}: ${colour};`).join(" ");
