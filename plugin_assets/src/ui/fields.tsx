// Controls of the rail.
import type { ComponentChildren, JSX } from "preact";

interface SegmentsProps<Value extends string> {
  name: string;
  value: Value;
  options: [Value, string][];
  choose: (value: Value) => void;
  /** In two rows. */
  rows?: boolean;
}

export function Segments<Value extends string>({ name, value, options, choose, rows = false }: SegmentsProps<Value>): JSX.Element {
  return (
    <fieldset class="field">
      <legend>{name}</legend>
      <div class={rows ? "segments rows" : "segments"}>
        {options.map(([key, title]) => (
          <label key={key} class={key === value ? "on" : ""}>
            <input type="radio" name={`segment-${name}`} checked={key === value} onChange={() => choose(key)} />
            {title}
          </label>
        ))}
      </div>
    </fieldset>
  );
}

interface ChoiceProps<Value extends string> {
  name: ComponentChildren;
  testid: string;
  value: Value;
  options: readonly (readonly [Value, string])[];
  choose: (value: Value) => void;
}

/** A menu behind its name. */
export function Choice<Value extends string>({ name, testid, value, options, choose }: ChoiceProps<Value>): JSX.Element {
  return (
    <label class="field choice">
      <span>{name}</span>
      <select value={value} data-testid={testid} onChange={(event) => choose(event.currentTarget.value as Value)}>
        {options.map(([key, title]) => (
          <option key={key} value={key}>
            {title}
          </option>
        ))}
      </select>
    </label>
  );
}

interface TickProps {
  testid: string;
  checked: boolean;
  choose: (checked: boolean) => void;
  children: ComponentChildren;
}

export function Tick({ testid, checked, choose, children }: TickProps): JSX.Element {
  return (
    <label class="check">
      <input type="checkbox" checked={checked} data-testid={testid} onChange={(event) => choose(event.currentTarget.checked)} />
      {children}
    </label>
  );
}
