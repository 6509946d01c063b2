// Notes that people make on steps: in the folder of a run where the server keeps them, else in the page's address.
import { hasServer } from "../data/api";
import type { RunState } from "../data/run";

/** A note in the run's folder: `lrp-monitor note` writes them, and the page under `lrp-monitor view`. */
export interface KeptNote {
  /** The name of its file. */
  name: string;
  step: number;
  text: string;
  wall_time: number;
}

/** Whether this page's server keeps notes: `lrp-monitor view` has it in its page, TensorBoard's plugin only reads. */
export const isKept = (): boolean => hasServer() && document.querySelector("meta[name=lrp-notes]") !== null;

/** Sends a note's request, which no page of another origin can make. Rejects with the reason where it is refused. */
async function send(route: string, body: Record<string, string | number>): Promise<void> {
  let response: Response;
  try {
    response = await fetch(`./${route}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-LRP-Monitor": "note" },
      body: JSON.stringify(body),
    });
  } catch {
    throw new Error("the server does not answer");
  }
  if (!response.ok) throw new Error((await response.text()).trim() || `the server answered ${response.status}`);
}

/** Writes a note into the folder of a run. */
export const addNote = (run: RunState, step: number, text: string): Promise<void> => send("add_note", { run: run.listing.run, step, text });

/** Deletes a note from the folder of a run; what training logged stays as it is. */
export const removeNote = (run: RunState, name: string): Promise<void> => send("remove_note", { run: run.listing.run, name });

/** A note in the address: "step:text". */
export interface Mark {
  step: number;
  text: string;
}

export const markText = ({ step, text }: Mark): string => `${step}:${text}`;

export function readMark(text: string): Mark | null {
  const found = /^(\d{1,15}):(.*)$/s.exec(text);
  return found ? { step: Number(found[1]), text: found[2]! } : null;
}

/** The notes in the address with one more, which is there once. */
export const withMark = (marks: readonly string[], mark: Mark): string[] => [...new Set([...marks, markText(mark)])];
