// What the chosen runs are: model, composite, what was logged.
import type { ComponentChildren, JSX } from "preact";
import { count, plural } from "../data/format";
import type { RunState } from "../data/run";
import type { Model } from "../state/model";
import { Fold } from "./Fold";
import { Dot } from "./Dot";

export function About({ model }: { model: Model }): JSX.Element | null {
  const runs = model.selected().filter((run) => run.info !== null);
  if (runs.length === 0) return null;
  return (
    <Fold title="About">
      {runs.map((run) => (
        <AboutRun key={run.listing.run} run={run} />
      ))}
    </Fold>
  );
}

function AboutRun({ run }: { run: RunState }): JSX.Element {
  const meta = run.info?.meta ?? {};
  const text = (key: string): string | null => (typeof meta[key] === "string" ? meta[key] : null);
  const table = text("composite_table");
  return (
    <details>
      <summary>
        <Dot run={run} />
        <bdi class="name">{run.listing.name}</bdi>
      </summary>
      <dl>
        <Line title="Model">{text("model")}</Line>
        <Line title="Parameters">{typeof meta.parameters === "number" ? count(meta.parameters) : null}</Line>
        <Line title="Composite">{text("composite")}</Line>
        <Line title="Gradients">{GRADIENTS[text("gradients") ?? ""] ?? null}</Line>
        <Line title="Steps count">{text("axis") === "batch" ? "batches" : text("axis") === "epoch" ? "epochs" : null}</Line>
        <Line title="Logged">{plural(run.info?.steps.length ?? 0, "step")}</Line>
      </dl>
      {table && (
        <pre tabIndex={0} aria-label="Which rule for which layer">
          {table}
        </pre>
      )}
    </details>
  );
}

const GRADIENTS: Record<string, string> = {
  train: "of the training batch",
  probe: "of the probes",
  off: "not logged",
};

function Line({ title, children }: { title: string; children: ComponentChildren }): JSX.Element | null {
  if (children === null) return null;
  return (
    <>
      <dt>{title}</dt>
      <dd>{children}</dd>
    </>
  );
}
