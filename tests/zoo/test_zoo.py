"""Every model of the zoo is explained as an independent restatement explains it, or refused for a listed reason.

Run with ``pytest -m zoo`` and the extra ``zoo`` installed. Nothing is downloaded; one model at a time, seconds each.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import pytest
import restatement
import zoo_entry
from zoo_entry import Entry
from zoo_models import ZOO

import lrp_monitor as lrp

pytestmark = pytest.mark.zoo

# Model -> what the refusal says. Every other model is explained.
REFUSED: dict[str, str] = {}

EXPLAINED = [name for name in ZOO if name not in REFUSED]
COMPOSITES = list(restatement.COMPOSITES)


@dataclass(frozen=True)
class Case:
    """A model with its inputs."""

    name: str
    entry: Entry
    model: keras.Model
    inputs: dict[str, np.ndarray]
    explainers: dict[str, lrp.Explainer] = field(default_factory=dict)
    """Compiled once: they read the weights as they are."""

    def randomise(self, offsets: bool) -> None:
        """Give the model its random weights, with biases and what else offsets its values or without."""
        zoo_entry.randomise(self.model, offsets, self.entry.constants)

    def output(self, inputs: dict[str, np.ndarray] | None = None) -> np.ndarray:
        """What the model gives out, as ``predict`` computes it."""
        output = self.model.predict_on_batch(zoo_entry.as_given(self.entry, inputs or self.inputs))
        return np.asarray(output if self.entry.output is None else output[self.entry.output])

    def logit(self, inputs: dict[str, np.ndarray] | None = None) -> np.ndarray:
        """The number that is explained, one a sample."""
        return self.output(inputs)[(slice(None), *self.entry.target)]

    def target(self) -> Any:
        """The same number as a target of the engine."""
        position = self.entry.target
        if len(position) == 1:
            return position[0]
        where = position[:-1]
        return lrp.targets.Region(where if len(where) > 1 else where[0], of=position[-1])

    def explain(self, composite: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The engine's relevance by input, and the number that it explains."""
        if composite not in self.explainers:
            chosen = lrp.composites.cp_lrp(0.0) if composite == "cp_lrp" else composite
            self.explainers[composite] = lrp.Explainer(self.model, chosen, output=self.entry.output)
        found = self.explainers[composite].explain(zoo_entry.as_given(self.entry, self.inputs), self.target())
        relevance = found.relevance
        return (relevance if isinstance(relevance, dict) else {next(iter(self.inputs)): relevance}), found.logit

    def restated(self, rules: restatement.Rules) -> dict[str, np.ndarray]:
        """Relevance by input, restated; inputs of which it knows none have none."""
        entry = self.entry
        as_dict = entry.named or len(self.inputs) > 1
        found, _ = restatement.relevance(
            self.model, self.inputs, entry.target, rules, entry.token_ids, entry.output, as_dict
        )
        return {name: found.get(name, np.zeros(value.shape)) for name, value in self.inputs.items()}


def mask_of(name: str) -> str:
    """The input that says which of these tokens are no padding."""
    return name.replace("token_ids", "padding_mask").replace("segment_ids", "padding_mask")


def case_of(name: str) -> Case:
    keras.backend.clear_session()
    entry = ZOO[name]
    return Case(name, entry, entry.build(), zoo_entry.entry_inputs(entry))


@pytest.fixture(scope="module", params=EXPLAINED)
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    """One model lives at a time."""
    yield case_of(request.param)
    keras.backend.clear_session()
    gc.collect()


@pytest.mark.parametrize("composite", COMPOSITES)
def test_explained_as_restated(case: Case, composite: str) -> None:
    case.randomise(offsets=True)
    relevance, logit = case.explain(composite)
    expected = case.restated(restatement.COMPOSITES[composite])
    own = case.logit()
    np.testing.assert_allclose(logit, own, rtol=1e-5, atol=1e-5 * np.abs(case.output()).max())
    largest = max(np.abs(value).max() for value in expected.values())
    assert largest > 0
    assert set(relevance) == set(expected)
    for name, value in expected.items():
        assert relevance[name].shape == case.inputs[name].shape
        np.testing.assert_allclose(relevance[name], value, rtol=0, atol=1e-4 * largest, err_msg=name)
    check_what_has_none(case, relevance)


def check_what_has_none(case: Case, relevance: dict[str, np.ndarray]) -> None:
    """Masks, padded tokens, and tokens after the explained one of a causal model have exactly none."""
    entry = case.entry
    for name in entry.masks:
        assert not relevance[name].any(), name
    for name in entry.token_ids:
        mask = case.inputs.get(mask_of(name))
        if mask is not None and not entry.reads_padding:
            assert not relevance[name][mask == 0].any(), name
        if entry.causal and not name.startswith("encoder"):
            assert not relevance[name][:, entry.target[0] + 1 :].any(), name
            assert relevance[name][:, : entry.target[0] + 1].all(), name


def test_padding_is_read_where_that_is_reported(case: Case) -> None:
    """What ``reads_padding`` says of a model, asked of the model itself: other padded tokens, another logit or not."""
    case.randomise(offsets=True)
    entry = case.entry
    changed = dict(case.inputs)
    for name in entry.token_ids:
        mask = changed.get(mask_of(name))
        if mask is not None:
            other = 1 - changed[name] if name == "segment_ids" else np.where(changed[name] == 1, 2, 1)
            changed[name] = np.where(mask == 0, other, changed[name]).astype(np.int32)
    assert (not np.array_equal(case.logit(changed), case.logit())) == entry.reads_padding


def test_cp_lrp_conserves_without_offsets(case: Case) -> None:
    case.randomise(offsets=False)
    relevance, logit = case.explain("cp_lrp")
    total = sum(value.reshape(len(logit), -1).sum(axis=1, dtype=np.float64) for value in relevance.values())
    assert np.abs(logit).min() > 1e-3
    conserves = bool((np.abs(total - logit) <= 1e-3 * np.abs(logit)).all())
    assert conserves == (not case.entry.keeps), (total, logit)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_for_the_reason_listed(name: str) -> None:
    case = case_of(name)
    case.randomise(offsets=True)
    for composite in COMPOSITES:
        with pytest.raises(lrp.UnsupportedModelError, match=REFUSED[name]):
            case.explain(composite)


def test_the_zoo_holds_what_it_names() -> None:
    assert set(REFUSED) <= set(ZOO)
    assert len(ZOO) >= 45
