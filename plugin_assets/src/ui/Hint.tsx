// A text that is explained on demand: by the pointer over them, a touch, or the keyboard.
import type { ComponentChildren, JSX } from "preact";
import { useId, useState } from "preact/hooks";

export function Hint({ text, children }: { text: string; children: ComponentChildren }): JSX.Element {
  const [open, setOpen] = useState(false);
  const id = useId();
  return (
    <span class="hint-box">
      <button
        type="button"
        class="hint-button"
        title={open ? undefined : text}
        aria-expanded={open}
        aria-describedby={open ? id : undefined}
        onClick={() => setOpen(!open)}
        onBlur={() => setOpen(false)}
        onKeyDown={(event) => {
          if (event.key !== "Escape" || !open) return;
          setOpen(false);
          event.stopPropagation();
        }}
      >
        {children}
      </button>
      {open && (
        <span class="hint-text" id={id} role="note">
          {text}
        </span>
      )}
    </span>
  );
}
