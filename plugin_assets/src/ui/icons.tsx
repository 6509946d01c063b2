// Icons as paths in a 16 x 16 box; decoration only, the buttons have labels.
import type { JSX } from "preact";

const PATHS = {
  play: "M4 2.5v11l9.5-5.5z",
  pause: "M4 2.5h3v11H4zM9 2.5h3v11H9z",
  previous: "M10.8 2.5v11L4.2 8z",
  next: "M5.2 2.5v11L11.8 8z",
  first: "M3 2.5h2v11H3zM13 2.5v11L6.2 8z",
  last: "M11 2.5h2v11h-2zM3 2.5v11L9.8 8z",
} as const;

export function Icon({ name }: { name: keyof typeof PATHS }): JSX.Element {
  return (
    <svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
      <path d={PATHS[name]} fill="currentColor" />
    </svg>
  );
}
