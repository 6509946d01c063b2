// A part of the page under a heading that folds it away; what is folded stays so, in this browser.
import type { ComponentChildren, JSX } from "preact";
import { useState } from "preact/hooks";
import { recall, remember } from "../state/remembered";

/** Below this width the page is one column: see the style sheet. */
const NARROW = 820;

interface FoldProps {
  title: string;
  /** A remark behind the title. */
  aside?: string;
  children: ComponentChildren;
}

export function Fold({ title, aside, children }: FoldProps): JSX.Element {
  const key = `folded ${title}`;
  // Where there is little room all but the runs are folded at first.
  const [folded, setFolded] = useState((recall(key) ?? (window.innerWidth <= NARROW && title !== "Runs" ? "1" : "0")) === "1");
  const id = `fold-${title.replace(/\W/g, "-")}`;
  return (
    <section aria-labelledby={id}>
      <h2>
        <button
          type="button"
          class="fold"
          id={id}
          aria-expanded={!folded}
          onClick={() => {
            remember(key, folded ? "0" : "1");
            setFolded(!folded);
          }}
        >
          {title}
          {aside && <span class="aside">{aside}</span>}
        </button>
      </h2>
      {!folded && children}
    </section>
  );
}
