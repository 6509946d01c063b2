// A note of one's own on the step of the slider: in the folder of a run where the server takes notes, else in the address.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { hasServer } from "../data/api";
import { short } from "../data/format";
import type { RunState } from "../data/jobs";
import type { Model } from "../state/model";
import { sharedParts, telling } from "../state/names";
import { markText, type KeptNote } from "./found";

/** Whether this page's server keeps notes: `lrp-monitor view` says so in its page, TensorBoard's plugin only reads. */
const isKept = (): boolean => hasServer() && document.querySelector("meta[name=lrp-notes]") !== null;

/** Has a note kept in the folder of a run; throws in words where it cannot be. */
async function keep(run: RunState, step: number, text: string): Promise<KeptNote> {
  let response: Response;
  try {
    response = await fetch("./add_note", {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-LRP-Monitor": "note" },
      body: JSON.stringify({ run: run.listing.run, step, text }),
    });
  } catch {
    throw new Error("the server does not answer");
  }
  if (!response.ok) throw new Error((await response.text()).trim() || `the server answered ${response.status}`);
  return ((await response.json()) as { note: KeptNote }).note;
}

/** `added` is called with a run whose folder has one more note. */
export function AddNote({ model, added }: { model: Model; added: (run: RunState, note: KeptNote) => void }): JSX.Element {
  const [text, setText] = useState("");
  const [place, setPlace] = useState<string | null>(null);
  const [said, setSaid] = useState("");
  const [busy, setBusy] = useState(false);
  const step = model.currentStep();
  const kept = isKept();
  const places = kept ? model.selected().filter((run) => model.stepOf(run, step) !== null) : [];
  const shared = sharedParts(places.map(({ listing }) => listing.name));
  const chosen = place === "" ? undefined : (places.find(({ listing }) => listing.run === place) ?? places[0]);
  const add = async (): Promise<void> => {
    const words = text.trim();
    if (words === "" || step === null || busy) return;
    setBusy(true);
    const run = chosen;
    const info = run && model.stepOf(run, step);
    let why = "";
    if (run && info) {
      try {
        added(run, await keep(run, info.step, words));
        setSaid(`Kept in the folder of ${run.listing.name}, at step ${info.step}.`);
      } catch (error) {
        why = error instanceof Error ? error.message : String(error);
      }
    }
    if (!run || why !== "") {
      model.setView({ marks: [...new Set([...model.view.marks, markText({ step, text: words })])] });
      setSaid(why === "" ? "The note stands in the page’s address." : `The run’s folder did not take it (${short(why, 200)}): the note stands in the page’s address.`);
    }
    setText("");
    setBusy(false);
  };
  return (
    <form
      class="add-mark"
      onSubmit={(event) => {
        event.preventDefault();
        void add();
      }}
    >
      <input type="text" data-testid="mark-text" maxLength={200} placeholder={`A note on step ${step ?? ""}`} aria-label={`A note of your own on step ${step ?? ""}`} value={text} onInput={(event) => setText(event.currentTarget.value)} />
      {places.length > 0 && (
        <select aria-label="Where the note is kept" data-testid="note-place" value={chosen?.listing.run ?? ""} onChange={(event) => setPlace(event.currentTarget.value)}>
          {places.map(({ listing }) => (
            <option key={listing.run} value={listing.run}>
              in the folder of {short(telling(listing.name, shared), 30)}
            </option>
          ))}
          <option value="">in the page’s address</option>
        </select>
      )}
      <button type="submit" disabled={text.trim() === "" || step === null || busy}>
        Add note
      </button>
      <span class="aside" role="status" data-testid="note-said">
        {said}
      </span>
      <span class="aside">
        {kept ? (
          "A note in a run’s folder is there for all who open the run; one in the address is in a copied link."
        ) : (
          <>
            Notes made here stand in the page’s address: a copied link has them. {hasServer() && "This server only reads runs. "}
            <code>lrp-monitor note RUN STEP TEXT</code> keeps them in the run’s folder{hasServer() && <>, and so does this page under <code>lrp-monitor view</code></>}.
          </>
        )}
      </span>
    </form>
  );
}
