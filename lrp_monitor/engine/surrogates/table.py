"""The table that tells how each layer of a model was treated."""

from __future__ import annotations

from dataclasses import dataclass

from lrp_monitor.engine.steps.step import Step
from lrp_monitor.engine.surrogates.build import Plan
from lrp_monitor.engine.trace.recording import LayerCall
from lrp_monitor.engine.trace.treatments import hides_its_parts


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    layer: str
    kind: str
    treatment: str


def shown(call: LayerCall | None) -> LayerCall | None:
    """The call of a layer that stands in the table for what was made in ``call``; None where none does."""
    calls = [] if call is None else [c for c in call.around() if not c.is_model]
    return next((c for c in reversed(calls) if hides_its_parts(c.layer)), calls[0] if calls else None)


def treatments_of(plan: Plan) -> dict[int, str]:
    """How each call of a layer was treated, by the call's id."""
    steps: dict[int, list[Step]] = {}
    for step in plan.all_steps():
        call = shown(step.op.call)
        if call is not None:
            steps.setdefault(id(call), []).append(step)
    return {id(call): _treatment(call, steps.get(id(call), [])) for call in plan.assigner.recording.calls}


def _treatment(call: LayerCall, steps: list[Step]) -> str:
    if any(step.problem for step in steps):
        return "plain gradient (no rule)"
    maps = (step.map for step in steps if step.map is not None)
    rules = list(dict.fromkeys(f"{made.rule!r}" for made in maps if shown(made.call) is call))
    notes = list(dict.fromkeys(step.note for step in steps if step.note))
    if hides_its_parts(call.layer):
        return f"gates constant; {', '.join(rules)} on the map of the signal" if rules else "; ".join(notes)
    if rules:
        return "; ".join(rules)
    special = [note for note in notes if note not in ("passes as it is", "the winner takes all")] or notes
    if special:
        return "; ".join(special)
    return "passes as it is" if steps else "no relevance of its own: the layers inside it, or none, take part"


def rows_of(plan: Plan) -> list[Row]:
    """The rows of the table, layer by layer as they were called, then raw operations."""
    treatments = treatments_of(plan)
    rows = [
        Row(call.name, call.kind, treatments[id(call)]) for call in plan.assigner.recording.calls if shown(call) is call
    ]
    for step in plan.all_steps():
        if shown(step.op.call) is None and step.note and step.mask is None:
            rows.append(Row(step.op.name, step.op.type, step.note))
    return rows
