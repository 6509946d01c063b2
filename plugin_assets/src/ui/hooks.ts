// What components share: redrawing when the model changes, and the size of an element.
import { useEffect, useLayoutEffect, useReducer, useRef, useState } from "preact/hooks";
import type { ViewCache } from "../state/cache";
import type { Model } from "../state/model";

/** Draws the component again whenever the model reports a change. */
export function useModel(model: Model): void {
  const [, redraw] = useReducer((n: number) => n + 1, 0);
  useEffect(() => model.subscribe(() => redraw(undefined as never)), [model]);
}

/** The model's cache of this kind; draws the component again whenever something has come. For one component at a time. */
export function useCache<Cache extends ViewCache>(model: Model, kind: new () => Cache): Cache {
  const [, redraw] = useReducer((n: number) => n + 1, 0);
  const cache = model.cacheOf(kind);
  useLayoutEffect(() => {
    cache.changed = () => redraw(undefined as never);
    return () => {
      cache.changed = () => undefined;
      cache.close();
    };
  }, [cache]);
  return cache;
}

/** Width and height of an element in CSS pixels, 0 until it is laid out. */
export function useSize<E extends Element>(): [{ current: E | null }, number, number] {
  const ref = useRef<E | null>(null);
  const [size, setSize] = useState<[number, number]>([0, 0]);
  useLayoutEffect(() => {
    const element = ref.current;
    if (!element) return undefined;
    const measure = (): void => {
      const { width, height } = element.getBoundingClientRect();
      setSize((old) => (old[0] === width && old[1] === height ? old : [width, height]));
    };
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  return [ref, ...size];
}
