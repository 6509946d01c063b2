// A run's mark: its colour, and a shape where another chosen run has the same one.
import type { JSX } from "preact";
import type { RunState } from "../data/run";
import { runColour } from "./colours";

export function Dot({ run, title }: { run: Pick<RunState, "order" | "pattern">; title?: string }): JSX.Element {
  return <span class={`dot shape-${run.pattern}`} style={{ "--dot": runColour(run.order) }} title={title} />;
}
