// The panels below and beside the middle: curves over training, histograms of the step.
export { Histograms } from "./Histograms";
export { Timelines } from "./Timeline";
