// Adds a note on the step of the slider: in the folder of a run where the server keeps notes, else in the address.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { hasServer } from "../data/api";
import { short } from "../data/format";
import { errorText } from "../data/refresh";
import type { Model } from "../state/model";
import { sharedParts, distinctPart } from "../state/names";
import { addNote, isKept, withMark } from "./notes";

export function AddNote({ model }: { model: Model }): JSX.Element {
  const [text, setText] = useState("");
  const [place, setPlace] = useState<string | null>(null);
  const [status, setStatus] = useState("");
  const [busy, setBusy] = useState(false);
  const step = model.currentStep();
  const kept = isKept();
  const places = kept ? model.selected().filter((run) => model.stepOf(run, step) !== null) : [];
  const shared = sharedParts(places.map(({ listing }) => listing.name));
  const chosen = place === "" ? undefined : (places.find(({ listing }) => listing.run === place) ?? places[0]);
  const add = async (): Promise<void> => {
    const note = text.trim();
    if (note === "" || step === null || busy) return;
    setBusy(true);
    const info = chosen && model.stepOf(chosen, step);
    let error = "";
    if (chosen && info) {
      try {
        await addNote(chosen, info.step, note);
        await model.pollNow();
        setStatus(`Kept in the folder of ${chosen.listing.name}, at step ${info.step}.`);
      } catch (reason) {
        error = errorText(reason);
      }
    }
    if (!chosen || error !== "") {
      model.setView({ marks: withMark(model.view.marks, { step, text: note }) });
      setStatus(error === "" ? "The note is in the page’s address." : `The note could not be kept in the run’s folder (${short(error, 200)}): it is in the page’s address.`);
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
              in the folder of {short(distinctPart(listing.name, shared), 30)}
            </option>
          ))}
          <option value="">in the page’s address</option>
        </select>
      )}
      <button type="submit" disabled={text.trim() === "" || step === null || busy}>
        Add note
      </button>
      <span class="aside" role="status" data-testid="note-status">
        {status}
      </span>
      <span class="aside">
        {kept ? (
          "A note in a run’s folder is there for all who open the run; one in the address is in a copied link."
        ) : (
          <>
            Notes made here are in the page’s address: a copied link has them. {hasServer() && "This server only reads runs. "}
            <code>lrp-monitor note RUN STEP TEXT</code> keeps them in the run’s folder{hasServer() && <>, and so does this page under <code>lrp-monitor view</code></>}.
          </>
        )}
      </span>
    </form>
  );
}
