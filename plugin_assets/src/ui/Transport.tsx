// The step slider with its buttons and number box.
import type { JSX } from "preact";
import { useMemo, useState } from "preact/hooks";
import { roundPlaces } from "../data/axes";
import { position } from "../data/format";
import type { Model } from "../state/model";
import { nearestIndex } from "../data/steps";
import type { View } from "../state/view";
import { Icon } from "./icons";
import { Legend } from "./Legend";

export function Transport({ model }: { model: Model }): JSX.Element {
  const steps = model.steps();
  const current = model.currentStep();
  const index = Math.max(0, model.indexOf(current));
  const following = model.view.step === "last";
  const atEnd = index >= steps.length - 1;
  return (
    <header class="transport">
      <div class="controls">
        <div class="buttons" role="group" aria-label="Move through the logged steps">
          <Button icon="first" title="First step (Home)" press={() => model.move(-Infinity)} off={index <= 0} />
          <Button icon="previous" title="Previous step (←)" press={() => model.move(-1)} off={index <= 0} />
          <Button
            icon={model.playing ? "pause" : "play"}
            title={model.playing ? "Pause (space)" : "Play (space)"}
            press={() => (model.playing ? model.pause() : model.play())}
            off={steps.length < 2}
            strong
          />
          <Button icon="next" title="Next step (→)" press={() => model.move(1)} off={atEnd} />
          <Button icon="last" title="Last step (End)" press={() => model.move(Infinity)} off={atEnd} />
        </div>
        <select
          class="speed"
          aria-label="Speed of playing, in logged steps per second"
          title="Logged steps per second while playing"
          value={model.view.speed}
          data-testid="speed"
          onChange={(event) => model.setView({ speed: event.currentTarget.value as View["speed"] })}
        >
          {(["2", "4", "8", "16"] as const).map((speed) => (
            <option key={speed} value={speed}>
              {speed} / s
            </option>
          ))}
        </select>
        <Slider model={model} steps={steps} index={index} />
        <NumberBox model={model} steps={steps} current={current} />
        <label class="follow" title="Show each new step as soon as it is logged">
          <input
            type="checkbox"
            checked={following}
            disabled={steps.length === 0}
            data-testid="follow"
            onChange={(event) => model.setView({ step: event.currentTarget.checked ? "last" : (current ?? "last") })}
          />
          Follow live
        </label>
      </div>
      <Legend model={model} />
    </header>
  );
}

interface ButtonProps {
  icon: Parameters<typeof Icon>[0]["name"];
  title: string;
  press: () => void;
  off: boolean;
  strong?: boolean;
}

function Button({ icon, title, press, off, strong }: ButtonProps): JSX.Element {
  const word = title.replace(/ \(.*/, "");
  return (
    <button
      type="button"
      class={strong ? "strong" : ""}
      title={title}
      aria-label={word}
      disabled={off}
      onClick={press}
      data-testid={word === "Pause" ? "play" : word.toLowerCase().replace(" ", "-")}
    >
      <Icon name={icon} />
    </button>
  );
}

/** Places of the slider whose step is written: round ones where there are, and the last. */
function slots(steps: readonly number[]): number[] {
  const last = steps.length - 1;
  const found = roundPlaces(steps, 0, last, 7).filter((i) => last - i >= last / 9);
  return last < 0 ? [] : [...found, last];
}

interface SliderProps {
  model: Model;
  steps: readonly number[];
  index: number;
}

function Slider({ model, steps, index }: SliderProps): JSX.Element {
  const last = Math.max(1, steps.length - 1);
  const infos = model.selected().map((run) => run.info);
  const [withMaps, withoutMaps] = useMemo(() => {
    const stored = new Set(infos.flatMap((info) => info?.steps.filter((step) => step.maps).map((step) => step.step) ?? []));
    return [true, false].map((wanted) => steps.map((step, i) => (stored.has(step) === wanted ? `M${i} 0V1` : "")).join(""));
  }, [steps, ...infos]);
  return (
    <div class="slider">
      <input
        type="range"
        class="steps"
        min="0"
        max={last}
        step="1"
        value={index}
        disabled={steps.length < 2}
        aria-label="Logged step"
        aria-valuetext={`step ${steps[index] ?? 0}, ${index + 1} of ${steps.length} logged`}
        data-testid="slider"
        style={{ "--fill": `${(100 * index) / last}%` }}
        onInput={(event) => {
          const step = steps[Number(event.currentTarget.value)];
          if (step !== undefined) model.setView({ step });
        }}
      />
      <div class="scale" aria-hidden="true">
        <svg viewBox={`0 0 ${last} 1`} preserveAspectRatio="none" data-testid="ticks" data-ticks={steps.length}>
          <path class="tick" d={withMaps} />
          <path class="tick faint" d={withoutMaps} />
        </svg>
        {slots(steps).map((i) => (
          <span key={i} style={{ left: `${(100 * i) / last}%` }}>
            {steps[i]}
          </span>
        ))}
      </div>
    </div>
  );
}

function NumberBox({ model, steps, current }: { model: Model; steps: readonly number[]; current: number | null }): JSX.Element {
  const [typed, setTyped] = useState<string | null>(null);
  const take = (): void => {
    const asked = Number(typed ?? "");
    const index = nearestIndex(steps, asked);
    if (typed !== null && typed.trim() !== "" && Number.isFinite(asked) && index >= 0) model.setView({ step: steps[index]! });
    setTyped(null);
  };
  const asked = Number(typed);
  const unlogged = typed !== null && typed !== "" && Number.isFinite(asked) && !steps.includes(asked);
  return (
    <div class="stepbox">
      <label>
        Step
        <input
          type="text"
          inputMode="numeric"
          size={6}
          value={typed ?? (current === null ? "" : String(current))}
          disabled={current === null}
          data-testid="step-number"
          aria-describedby="step-where"
          onInput={(event) => setTyped(event.currentTarget.value)}
          onBlur={take}
          onKeyDown={(event) => {
            if (event.key === "Enter") take();
            else if (event.key === "Escape") setTyped(null);
            else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
              setTyped(null);
              model.move(event.key === "ArrowUp" ? 1 : -1);
              event.preventDefault();
            }
          }}
        />
      </label>
      <span class="where" id="step-where" data-testid="where">
        {unlogged ? `nearest: ${steps[nearestIndex(steps, asked)]}` : where(model, current)}
      </span>
    </div>
  );
}

/** Where in training the slider stands, by the first chosen run that logged that very step. */
function where(model: Model, current: number | null): string {
  const infos = model.selected().map((run) => model.stepOf(run, current));
  if (current === null) return model.runs === null ? "loading" : infos.length > 0 ? "nothing logged yet" : "";
  const info = infos.find((found) => found?.step === current);
  return info ? position(info.epoch, info.batch) : "";
}
