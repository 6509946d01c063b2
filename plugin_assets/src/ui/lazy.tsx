// Parts of the page that are loaded when they are first asked for.
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";

const loaded = new Map<() => Promise<unknown>, unknown>();

/** What `load` (the same function each time) imports: null while it is on its way, an Error where it does not come. */
export function useLazy<Part extends object>(load: () => Promise<Part>): Part | Error | null {
  const [, tell] = useState(0);
  useEffect(() => {
    if (loaded.has(load)) return;
    load().then(
      (part) => {
        loaded.set(load, part);
        tell((n) => n + 1);
      },
      (error: unknown) => {
        loaded.set(load, error instanceof Error ? error : new Error(String(error)));
        tell((n) => n + 1);
      },
    );
  }, [load]);
  return (loaded.get(load) as Part | Error | undefined) ?? null;
}

/** Stands where a part of the page will be, or says that it could not be loaded. */
export function Loading({ part, children }: { part: Error | null; children?: JSX.Element }): JSX.Element {
  return (
    <div class="grid-area hint" role={part ? "alert" : undefined}>
      <p>{part ? `This part of the page could not be loaded (${part.message}): reload the page.` : "Loading …"}</p>
      {children}
    </div>
  );
}
