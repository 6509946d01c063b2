// The panels below and beside the middle: curves over training, histograms of the step.
import css from "./panels.css";
import { adopt } from "./sheets";

adopt(css);

export { Histograms } from "./Histograms";
export { Timelines } from "./Timeline";
