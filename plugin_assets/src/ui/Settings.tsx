// The rail below the runs, loaded behind the first view: which probes, how they are drawn, links and files, what the runs are.
import type { JSX } from "preact";
import type { Model } from "../state/model";
import { About } from "./About";
import { Curves } from "./Curves";
import { Display } from "./Display";
import { Filters } from "./Filters";
import css from "./settings.css";
import { Share } from "./Share";
import { adopt } from "./sheets";

export function Settings({ model }: { model: Model }): JSX.Element {
  adopt(css);
  return (
    <>
      <Filters model={model} />
      <Display model={model} />
      <Curves model={model} />
      <Share model={model} />
      <About model={model} />
    </>
  );
}
