// Buttons that save what the view shows, with the share done and a way to stop.
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { percent } from "../data/format";
import { exportGif, exportNpz, exportPng, fileName, type Exported, type ExportOf, type Progress } from "./exports";
import { download } from "../ui/files";

interface Busy {
  kind: string;
  share: number;
}

export function ExportMenu({ of, milliseconds }: { of: ExportOf; milliseconds: number }): JSX.Element {
  const [busy, setBusy] = useState<Busy | null>(null);
  const [status, setStatus] = useState<string | null>(null);
  const going = useRef(true);
  useEffect(() => {
    going.current = true;
    return () => void (going.current = false);
  }, [of.index, of.probes.hash]);
  const save = async (kind: string, make: (progress: Progress) => Promise<Exported>): Promise<void> => {
    going.current = true;
    setStatus(null);
    setBusy({ kind, share: 0 });
    try {
      const { file, note } = await make((share) => {
        if (going.current) setBusy({ kind, share });
        return going.current;
      });
      if (!going.current) return;
      const name = of.probes.names[of.index] ?? "probe";
      const step = of.model.currentStep();
      download(file, fileName(kind === "png" ? `${name}-step-${step}` : name, kind));
      setStatus(note === null ? `Saved as ${kind.toUpperCase()}.` : `Saved as ${kind.toUpperCase()}: ${note}.`);
    } catch (error) {
      if (going.current) setStatus(error instanceof Error ? error.message : String(error));
    } finally {
      setBusy(null);
    }
  };
  return (
    <div class="exports" role="group" aria-label="Save">
      <span class="aside" role="status" data-testid="export-status">
        {busy ? `${busy.kind.toUpperCase()} ${percent(busy.share)}` : status}
      </span>
      {busy ? (
        <button type="button" onClick={() => (going.current = false)} data-testid="export-stop">
          Stop
        </button>
      ) : (
        <>
          <button type="button" data-testid="export-png" title="The input and the heatmaps of this step, as a picture" onClick={() => void save("png", () => exportPng(of))}>
            PNG
          </button>
          <button type="button" data-testid="export-gif" title="All steps, as an animation" onClick={() => void save("gif", (progress) => exportGif(of, milliseconds, progress))}>
            GIF
          </button>
          <button type="button" data-testid="export-npz" title="Relevance at all steps and the curves, as NumPy arrays" onClick={() => void save("npz", (progress) => exportNpz(of, progress))}>
            NPZ
          </button>
        </>
      )}
    </div>
  );
}
