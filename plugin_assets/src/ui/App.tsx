// The frame of the page: rail, transport, grid, timelines below and histograms beside or below.
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import type { Model } from "../state/model";
import { Below } from "./Below";
import { Divider } from "./Divider";
import { Guard } from "./Failure";
import { useModel } from "./hooks";
import { Later } from "./Later";
import { later, Loading, useLazy } from "./lazy";
import { MiddleView } from "./pages";
import { Rail } from "./Rail";
import { zoomAt } from "../state/zoom";
import { Transport } from "./Transport";

export function App({ model }: { model: Model }): JSX.Element {
  return (
    <Guard>
      <Page model={model} />
    </Guard>
  );
}

function Page({ model }: { model: Model }): JSX.Element {
  useModel(model);
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => handleKey(model, event);
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, [model]);
  if (model.runs !== null && model.runs.length === 0) return <NoRuns />;
  return (
    <div class="page" data-testid="page">
      <Later busy={!model.isComplete()}>
        {() => <Rail model={model} />}
      </Later>
      <div class="top">
        {model.error !== null && (
          <div class="banner" role="alert" data-testid="banner">
            <span>{model.error}</span>
            <button type="button" onClick={() => model.retry()}>
              Try again
            </button>
          </div>
        )}
        <Transport model={model} />
      </div>
      <main class="main">{model.view.probe === null ? <MiddleView model={model} /> : <OpenedProbe model={model} />}</main>
      <Divider />
      <Later busy={!model.isComplete()}>
        {() => <Below model={model} />}
      </Later>
    </div>
  );
}

const OpenedProbe = later<{ model: Model }>(() => import("./OpenedProbe").then((code) => code.OpenedProbe));

const loadEmpty = () => import("./Empty");

function NoRuns(): JSX.Element {
  const code = useLazy(loadEmpty);
  return code === null || code instanceof Error ? <Loading part={code} /> : <code.Empty />;
}

function zoomKey(model: Model, key: string): boolean {
  const { zoom } = model.view;
  if (key === "+" || key === "=") model.setView({ zoom: zoomAt(zoom, 1.5) });
  else if (key === "-") model.setView({ zoom: zoomAt(zoom, 1 / 1.5) });
  else if (key === "0") model.setView({ zoom: null });
  else return false;
  return true;
}

/** Arrow keys, Home, End and space work wherever the focus is, except where a control has its own use for them. */
function handleKey(model: Model, event: KeyboardEvent): void {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const target = event.target instanceof Element ? event.target : document.body;
  if (target.closest("input[type=text], select, textarea")) return;
  if (zoomKey(model, event.key)) {
    event.preventDefault();
    return;
  }
  if (target.closest("input")) return;
  const far = event.shiftKey ? 10 : 1;
  if (event.key === "ArrowLeft") model.move(-far);
  else if (event.key === "ArrowRight") model.move(far);
  else if (event.key === "Home") model.move(-Infinity);
  else if (event.key === "End") model.move(Infinity);
  else if (event.key === "Escape" && model.view.probe !== null) model.setView({ probe: null });
  else if (event.key === "Escape" && model.view.page === "help") model.setView({ page: "maps" });
  else if (event.key === "?") model.setView({ page: model.view.page === "help" ? "maps" : "help", probe: null });
  else if (event.key === " " && !target.closest("button, summary")) {
    if (model.playing) model.pause();
    else model.play();
  } else return;
  event.preventDefault();
}
