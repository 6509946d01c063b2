// What all parts of the view of features share.
import type { RunState } from "../data/run";
import type { WatchedLayer } from "../data/types";
import type { Model } from "../state/model";
import type { Answers } from "./answers";
import type { Choice } from "./choice";

/** A layer that is watched in a run. */
export interface RunLayer {
  run: RunState;
  layer: WatchedLayer;
}

/** What is loaded, and what is chosen. */
export interface Context {
  model: Model;
  answers: Answers;
  /** The class whose channels are shown. */
  of: number;
  /** The name of a class. */
  nameOf: (number: number) => string;
  choice: Choice;
  choose: (change: Partial<Choice>) => void;
}

const COLOURS = ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb"];

/** Colour of the class at a place among those explained. */
export const legendColour = (at: number): string => COLOURS[at % COLOURS.length]!;
