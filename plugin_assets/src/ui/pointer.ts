// The pointer over a map: which pixel lies under it, zoom by wheel and drag, opening a probe by a click.
import { useEffect, useRef, useState } from "preact/hooks";
import { panelIn } from "../kinds/KindCanvas";
import type { Place as KindPlace } from "../kinds/panel";
import type { Model } from "../state/model";
import { mapPoint, pan, transformOf, zoomAt } from "../state/zoom";

/** A place on a map: shares of its width and height, and where the pointer is on the page. */
export interface Pointed {
  hash: string;
  probe: number;
  x: number;
  y: number;
  clientX: number;
  clientY: number;
  /** What lies there where the cell is no picture: its place in the map, and a description. */
  place: KindPlace | null;
}

const DRAG = 4; // pixels a press may move and still be a click

interface Place {
  cell: HTMLElement;
  hash: string;
  probe: number;
  u: number;
  v: number;
}

function placeOf(event: MouseEvent): Place | null {
  const target = event.target;
  const cell = target instanceof Element ? target.closest<HTMLElement>(".cell[data-probe]") : null;
  const hash = cell?.closest<HTMLElement>("[data-hash]")?.dataset.hash;
  if (!cell || hash === undefined) return null;
  const box = cell.getBoundingClientRect();
  if (box.width === 0 || box.height === 0) return null;
  const [u, v] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  return { cell, hash, probe: Number(cell.dataset.probe), u, v };
}

/** Watches the pointer over the maps below `area`; the place under it, null where it is over none. */
export function useMapPointer(model: Model, area: { current: HTMLElement | null }): Pointed | null {
  const [pointed, setPointed] = useState<Pointed | null>(null);
  const press = useRef<{ x: number; y: number; moved: boolean } | null>(null);

  useEffect(() => {
    const element = area.current;
    if (!element) return undefined;
    const move = (event: PointerEvent): void => {
      const held = press.current;
      const place = placeOf(event);
      if (held && event.buttons & 1) {
        const [dx, dy] = [event.clientX - held.x, event.clientY - held.y];
        if (held.moved || Math.hypot(dx, dy) > DRAG) {
          if (!held.moved) element.setPointerCapture(event.pointerId); // a drag goes on beyond the maps
          held.moved = true;
          const box = (place?.cell ?? element.querySelector(".cell"))?.getBoundingClientRect();
          if (box && model.view.zoom) {
            [held.x, held.y] = [event.clientX, event.clientY];
            model.setView({ zoom: pan(model.view.zoom, dx / box.width, dy / box.height) });
          }
        }
      }
      if (!place || event.pointerType === "touch") {
        setPointed(null);
        return;
      }
      const [x, y] = mapPoint(model.view.zoom, place.u, place.v);
      element.style.setProperty("--point-x", `${100 * place.u}%`);
      element.style.setProperty("--point-y", `${100 * place.v}%`);
      const box = place.cell.getBoundingClientRect();
      const kind = panelIn(place.cell)?.place(event.clientX - box.left, event.clientY - box.top);
      setPointed({ hash: place.hash, probe: place.probe, x, y, clientX: event.clientX, clientY: event.clientY, place: kind ?? null });
    };
    const down = (event: PointerEvent): void => {
      press.current = event.button === 0 && placeOf(event) ? { x: event.clientX, y: event.clientY, moved: false } : null;
    };
    const leave = (): void => setPointed(null);
    const click = (event: MouseEvent): void => {
      const place = placeOf(event);
      const dragged = press.current?.moved ?? false;
      press.current = null;
      if (!place || dragged) return;
      const film = event.target instanceof Element ? event.target.closest<HTMLElement>("[data-film-step]") : null;
      if (film) model.setView({ step: Number(film.dataset.filmStep) });
      else model.setView({ probe: { hash: place.hash, index: place.probe } });
    };
    const wheel = (event: WheelEvent): void => {
      const place = event.ctrlKey || event.metaKey ? placeOf(event) : null; // the wheel alone scrolls the page
      if (!place) return;
      event.preventDefault();
      model.setView({ zoom: zoomAt(model.view.zoom, Math.exp(-event.deltaY / 240), place.u, place.v) });
    };
    element.addEventListener("pointermove", move);
    element.addEventListener("pointerdown", down);
    element.addEventListener("pointerleave", leave);
    element.addEventListener("click", click);
    element.addEventListener("wheel", wheel, { passive: false });
    return () => {
      element.removeEventListener("pointermove", move);
      element.removeEventListener("pointerdown", down);
      element.removeEventListener("pointerleave", leave);
      element.removeEventListener("click", click);
      element.removeEventListener("wheel", wheel);
    };
  }, [model, area.current]);

  useEffect(() => {
    area.current?.classList.toggle("pointing", pointed !== null);
    area.current?.style.setProperty("--zoom", transformOf(model.view.zoom));
  });
  return pointed;
}
