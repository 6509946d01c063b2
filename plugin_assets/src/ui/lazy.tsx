// Parts of the page that are loaded when they are first asked for.
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";

const loaded = new Map<() => Promise<unknown>, unknown>();

/** A request that failed, as on a busy machine, is made once more after so long. */
const AGAIN_SECONDS = 1;

const again = <Part,>(load: () => Promise<Part>): Promise<Part> =>
  new Promise((resolve, reject) => window.setTimeout(() => load().then(resolve, reject), AGAIN_SECONDS * 1000));

/** What `load` (the same function each time) imports: null while it is on its way, an Error where it does not come. */
export function useLazy<Part extends object>(load: () => Promise<Part>): Part | Error | null {
  const [, draw] = useState(0);
  const now = loaded.get(load) as Part | Error | undefined;
  useEffect(() => {
    const settle = (part: unknown): void => {
      loaded.set(load, part);
      draw((n) => n + 1);
    };
    if (!loaded.has(load)) {
      load()
        .catch(() => again(load))
        .then(settle, (error: unknown) => settle(error instanceof Error ? error : new Error(String(error))));
    } else if (now === undefined) draw((n) => n + 1); // it came between this picture and its effects
  }, [load]);
  return now ?? null;
}

/** A component that `load` imports: nothing while it is on its way, or where it does not come. */
export function later<Props extends object>(load: () => Promise<(props: Props) => JSX.Element | null>): (props: Props) => JSX.Element | null {
  const wrapped = () => load().then((Part) => ({ Part }));
  return function Later(props) {
    const code = useLazy(wrapped);
    return code === null || code instanceof Error ? null : <code.Part {...props} />;
  };
}

/** Placeholder of a part of the page while it loads, or the error where it could not be loaded. */
export function Loading({ part, children }: { part: Error | null; children?: JSX.Element }): JSX.Element {
  return (
    <div class="grid-area hint" role={part ? "alert" : undefined}>
      <p>{part ? `This part of the page could not be loaded (${part.message}): reload the page.` : "Loading …"}</p>
      {children}
    </div>
  );
}
