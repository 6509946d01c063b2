// Which cards of a probe set are on the screen.
import { useLayoutEffect } from "preact/hooks";
import type { Model } from "../state/model";

/**
 * Tells the model which of the probes in `order`, each a card with `maps` heatmaps in `section`, are on the screen.
 * `cards`: the elements of the cards may be other ones when it changes.
 */
export function useInView(model: Model, section: { current: HTMLElement | null }, hash: string, order: readonly number[], maps: number, cards: string): void {
  useLayoutEffect(() => {
    if (!section.current) return undefined;
    const shown = new Set<number>();
    const observer = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        const probe = Number((target as HTMLElement).dataset.probe);
        if (isIntersecting) shown.add(probe);
        else shown.delete(probe);
      }
      // A tab that is hidden shows nothing, but is looked at again.
      if (window.innerHeight > 0) model.see(hash, order, order.filter((probe) => shown.has(probe)), maps);
    });
    for (const card of section.current.querySelectorAll("article.probe")) observer.observe(card);
    return () => observer.disconnect();
  }, [model, hash, maps, cards]);
}
