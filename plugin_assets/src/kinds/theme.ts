// The page's theme for canvases, which must be painted anew when it changes.
import { useEffect, useState } from "preact/hooks";

const root = (): HTMLElement => document.documentElement;
const listeners = new Set<() => void>();
let observer: MutationObserver | null = null;

/** "light" or "dark"; the component is drawn again when it changes. */
export function useTheme(): string {
  const [theme, setTheme] = useState(root().dataset.theme ?? "");
  useEffect(() => {
    const update = (): void => setTheme(root().dataset.theme ?? "");
    listeners.add(update);
    observer ??= new MutationObserver(() => listeners.forEach((listener) => listener()));
    observer.observe(root(), { attributes: true, attributeFilter: ["data-theme"] });
    return () => {
      listeners.delete(update);
    };
  }, []);
  return theme;
}
