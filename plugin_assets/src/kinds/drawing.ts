// A probe's inputs one below the other, each drawn as what it is.
import { FONT, type Look, type Panel } from "./panel";
import { picturePanel } from "./picture";
import { seriesPanel } from "./series";
import type { Source } from "../data/source";
import { tablePanel } from "./table";
import { tokensPanel } from "./tokens";

const TITLE = 15;
const GAP = 7;

function one(source: Source, width: number, look: Look): Panel {
  switch (source.info.kind) {
    case "series":
      return seriesPanel(source, width, look);
    case "tokens":
      return tokensPanel(source, width, look);
    case "table":
      return tablePanel(source, width, look);
    default:
      return picturePanel(source, width, look);
  }
}

/** The panel of all inputs of a probe. */
export function probePanel(sources: readonly Source[], width: number, look: Look): Panel {
  const titled = sources.length > 1 && look.size !== "small";
  let height = 0;
  const parts = sources.map((source) => {
    const panel = one(source, width, look);
    const top = height + (titled ? TITLE : 0);
    height = top + panel.height + GAP;
    return { source, panel, top };
  });
  return {
    height: Math.max(8, Math.ceil(height - GAP)),
    paint: (context) => {
      context.textBaseline = "middle";
      for (const { source, panel, top } of parts) {
        if (titled) {
          context.font = `600 10.5px ${FONT}`;
          context.fillStyle = look.faint;
          context.textAlign = "left";
          context.fillText(source.info.name, 1, top - TITLE / 2, width);
        }
        context.save();
        context.translate(0, top);
        panel.paint(context);
        context.restore();
      }
    },
    place: (x, y) => {
      const found = parts.find(({ panel, top }) => y >= top && y < top + panel.height);
      const place = found?.panel.place(x, y - found.top) ?? null;
      return place && titled ? { ...place, description: `${found!.source.info.name}, ${place.description}` } : place;
    },
    description: parts.map(({ source, panel }) => (titled ? `${source.info.name}: ${panel.description}` : panel.description)).join("; "),
  };
}
