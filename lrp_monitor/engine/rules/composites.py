"""Composites: which rule for which layer. Presets carry the field's names and defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from lrp_monitor.arguments import Preset, one_of, suggestion
from lrp_monitor.engine.rules.rules import AlphaBeta, Epsilon, Flat, Gamma, Rule, ZBox, ZPlus

__all__ = [
    "PRESETS", "Composite", "attn_lrp", "cp_lrp", "deep_taylor", "epsilon", "epsilon_alpha2_beta1",
    "epsilon_alpha2_beta1_flat", "epsilon_gamma", "epsilon_gamma_box", "epsilon_plus", "epsilon_plus_flat", "lrp_zero",
    "resolve",
]  # fmt: skip

Key = str | type | Callable[[Any], bool]
Norm = Literal["epsilon", "identity"]
Product = Literal["half", "gate"]
Attention = Literal["attn_lrp", "cp_lrp"]


@dataclass(frozen=True)
class Composite:
    """Which rule each weighted layer gets.

    Raises TypeError or ValueError for anything else.

    Attributes:
        conv: the rule of convolutions of every kind.
        dense: the rule of Dense and EinsumDense.
        first: the rule of the first weighted layer in data flow, if given.
        overrides: a layer's name, its path through the models that it lies in (``"base/block/conv"``, as inspection
            shows it), a layer class, or a predicate ``layer -> bool``, to a rule; these win over the rest, and the
            first match in the order given counts. A rule that shares out by weights is refused for a layer that is
            named and has none.
        until: makes ``first`` the rule of a whole *prefix* of the network, through which relevance then passes whatever
            the values are, so that the map is as coarse as what the layers behind it see (as wanted for clustering
            maps: SpRAy, Lapuschkin et al. 2019). Every weighted layer of it takes ``first`` (Flat, WSquare, or a rule
            of your own with ``input_only``, which sees ones in place of the input), activations and normalisations pass
            relevance one to one, poolings (of maxima too) and sums share it in equal parts; the prefix conserves
            relevance exactly. ``until`` names the last layer of the prefix by name (or path; a model inside the model
            too), class or predicate. The prefix is all that this layer's output is computed from; where several layers
            match, all that any of their outputs is.
        norm: how a BatchNormalization that follows no weighted layer is treated: ``"epsilon"`` (the epsilon rule on its
            affine map: stable, its shift absorbs relevance) or ``"identity"`` (relevance passes one to one: conserves,
            but can explode where a sum crosses zero).
        product: how the relevance of a product of activations (Multiply, squeeze-excite) is shared: ``"gate"``, the
            gate (a sigmoid or softmax, or what is spread over the other factor) is a constant and the signal gets all,
            which conserves; or ``"half"`` to each factor, where what the gate gets can explode (its sigmoid passes
            relevance also where its sum crosses zero). Where no factor is known to be the gate, each gets half.
        attention: the same of attention: ``"attn_lrp"`` (softmax by its own gradient, half to each factor of each
            product: Achtibat et al. 2024) or ``"cp_lrp"`` (the attention weights are constants: Ali et al. 2022).
        name: what printed tables, runs and baselines call it.
    """

    conv: Rule = field(default_factory=Epsilon)
    dense: Rule = field(default_factory=Epsilon)
    first: Rule | None = None
    overrides: Mapping[Key, Rule] = field(default_factory=dict)
    norm: Norm = "epsilon"
    product: Product = "gate"
    attention: Attention = "attn_lrp"
    name: str = "custom"
    until: Key | None = None

    def __post_init__(self) -> None:
        for role in ("conv", "dense"):
            rule = getattr(self, role)
            _check_rule(rule, role)
            if rule.input_only:
                raise ValueError(
                    f"{role}: {rule!r} is a rule for the first weighted layer; give it as first=, with until= for all "
                    "layers up to one, or name the first layer in overrides"
                )
        if self.first is not None:
            _check_rule(self.first, "first")
        if not isinstance(self.overrides, Mapping):
            raise TypeError(f"overrides must map layer names, classes or predicates to rules, got {self.overrides!r}")
        for key, rule in self.overrides.items():
            if not (isinstance(key, str | type) or callable(key)):
                raise TypeError(f"overrides: a key must be a layer's name, a class or a predicate, got {key!r}")
            _check_rule(rule, f"overrides[{key!r}]")
            if rule.input_only and isinstance(key, type) and _without_kernel(key):
                raise ValueError(
                    f"overrides[{key.__name__}]: {rule!r} shares out by the weights between a layer's inputs and "
                    f"outputs, which {key.__name__} does not have; name it for the first layer that has"
                )
        if self.until is not None:
            self._check_until()
        for option, choices in (("norm", Norm), ("product", Product), ("attention", Attention)):
            one_of(option, getattr(self, option), get_args(choices))

    def override(self, layer: Any, path: str | None = None) -> Rule | None:
        """The rule that ``overrides`` names for ``layer``, which lies at ``path`` in its model; None for none."""
        return next((rule for key, rule in self.overrides.items() if _matches(key, layer, path)), None)

    def ends_prefix(self, layer: Any, path: str | None = None) -> bool:
        """Whether ``until`` names ``layer``."""
        return self.until is not None and _matches(self.until, layer, path)

    def _check_until(self) -> None:
        if not (isinstance(self.until, str | type) or callable(self.until)):
            raise TypeError(f"until must be a layer's name, a class or a predicate, got {self.until!r}")
        if self.first is None:
            raise ValueError("until says how far the rule first reaches: give first, such as first=Flat()")
        if not fits_prefix(self.first):
            raise ValueError(
                f"until needs a rule for a whole prefix of the network, which shares relevance out whatever the values "
                f"are: first=Flat() or first=WSquare(), got {self.first!r}"
            )

    def __str__(self) -> str:
        rows = [f"composite {self.name}"]
        if self.first is not None:
            reach = "first weighted layer " if self.until is None else f"all until {_key_name(self.until):<11}"
            rows.append(f"  {reach} {self.first!r}")
        rows += [f"  convolutions          {self.conv!r}", f"  dense layers          {self.dense!r}"]
        rows += [f"  {_key_name(key):<21} {rule!r}" for key, rule in self.overrides.items()]
        for title, option in (("lone normalisations", "norm"), ("products", "product"), ("attention", "attention")):
            chosen = getattr(self, option)
            if chosen != getattr(type(self), option):
                rows.append(f"  {title:<21} {chosen}")
        return "\n".join(rows)


def _without_kernel(layer_type: type) -> bool:
    """Whether this is a class of Keras' own whose layers have no kernel."""
    kinds = ("activations", "merging", "normalization", "pooling", "regularization", "reshaping")
    parts = layer_type.__module__.split(".")
    return parts[:3] == ["keras", "src", "layers"] and parts[3] in kinds


def fits_prefix(rule: Rule) -> bool:
    """Whether ``rule`` can share relevance out in a prefix of the network, where no values count."""
    return rule.input_only and not isinstance(rule, ZBox)


def _matches(key: Key, layer: Any, path: str | None) -> bool:
    if isinstance(key, str):
        return key in (path, layer.name, getattr(layer, "path", None))
    return isinstance(layer, key) if isinstance(key, type) else bool(key(layer))


def _key_name(key: Key) -> str:
    return key if isinstance(key, str) else getattr(key, "__name__", repr(key))


def _check_rule(rule: object, where: str) -> None:
    if isinstance(rule, type) and issubclass(rule, Rule):
        raise TypeError(f"{where}: {rule.__name__} is a class; make a rule of it: {rule.__name__}(...)")
    if not isinstance(rule, Rule):
        raise TypeError(f"{where} must be a rule from lrp_monitor.rules, got {rule!r}")


def lrp_zero() -> Composite:
    """LRP-0 everywhere: on ReLU nets the same as input x gradient (Bach et al. 2015, equation 56)."""
    return Composite(conv=Epsilon(0.0), dense=Epsilon(0.0), name="lrp_zero")


def epsilon(epsilon: float = 1e-6) -> Composite:
    """LRP-epsilon everywhere (Bach et al. 2015, equation 58)."""
    return Composite(conv=Epsilon(epsilon), dense=Epsilon(epsilon), name="epsilon")


def epsilon_plus() -> Composite:
    """z+ for convolutions, epsilon for dense layers."""
    return Composite(conv=ZPlus(), name="epsilon_plus")


def epsilon_plus_flat(until: Key | None = None) -> Composite:
    """z+ for convolutions, epsilon for dense layers, flat for the first weighted layer, or all layers ``until`` one."""
    return Composite(conv=ZPlus(), first=Flat(), until=until, name="epsilon_plus_flat")


def epsilon_alpha2_beta1() -> Composite:
    """alpha-beta (2, 1) for convolutions, epsilon for dense layers."""
    return Composite(conv=AlphaBeta(2.0, 1.0), name="epsilon_alpha2_beta1")


def epsilon_alpha2_beta1_flat(until: Key | None = None) -> Composite:
    """alpha-beta (2, 1) for convolutions, epsilon for dense layers, flat for the first layer or ``until`` one."""
    return Composite(conv=AlphaBeta(2.0, 1.0), first=Flat(), until=until, name="epsilon_alpha2_beta1_flat")


def epsilon_gamma(gamma: float = 0.25) -> Composite:
    """gamma for convolutions, epsilon for dense layers (Montavon et al. 2019, section 10.2)."""
    return Composite(conv=Gamma(gamma), name="epsilon_gamma")


def epsilon_gamma_box(low: Any, high: Any) -> Composite:
    """gamma .25 for convolutions, epsilon for dense layers, zB for the first weighted layer.

    ``low`` and ``high`` bound the model's input (Montavon et al. 2019, section 10.3).
    """
    return Composite(conv=Gamma(0.25), first=ZBox(low, high), name="epsilon_gamma_box")


def deep_taylor(low: Any, high: Any) -> Composite:
    """z+ for all layers, zB for the first weighted one, inputs within ``low`` and ``high`` (Montavon et al. 2017)."""
    return Composite(conv=ZPlus(), dense=ZPlus(), first=ZBox(low, high), name="deep_taylor")


def attn_lrp(epsilon: float = 1e-6) -> Composite:
    """LRP-epsilon for all weights, AttnLRP for attention (Achtibat et al. 2024)."""
    return Composite(conv=Epsilon(epsilon), dense=Epsilon(epsilon), product="half", name="attn_lrp")


def cp_lrp(epsilon: float = 1e-6) -> Composite:
    """LRP-epsilon for all weights, attention weights held constant, which conserves (Ali et al. 2022)."""
    return Composite(conv=Epsilon(epsilon), dense=Epsilon(epsilon), attention="cp_lrp", name="cp_lrp")


PRESETS: dict[Preset, Callable[..., Composite]] = {
    "lrp_zero": lrp_zero,
    "epsilon": epsilon,
    "epsilon_plus": epsilon_plus,
    "epsilon_plus_flat": epsilon_plus_flat,
    "epsilon_alpha2_beta1": epsilon_alpha2_beta1,
    "epsilon_alpha2_beta1_flat": epsilon_alpha2_beta1_flat,
    "epsilon_gamma": epsilon_gamma,
    "epsilon_gamma_box": epsilon_gamma_box,
    "deep_taylor": deep_taylor,
    "attn_lrp": attn_lrp,
    "cp_lrp": cp_lrp,
}
_BOUNDED = ("epsilon_gamma_box", "deep_taylor")

AUTO = Composite(name="auto")
"""Stands for the composite that is chosen once the model's operations are known, see `choosing`."""


def unbounded_presets() -> tuple[str, ...]:
    """The names of the presets that need no bounds of the input."""
    return tuple(name for name in PRESETS if name not in _BOUNDED)


def resolve(composite: Preset | Composite) -> Composite:
    """The composite that a preset's name stands for, `AUTO` for "auto"; a Composite stands for itself.

    Raises ValueError for an unknown name, or one that needs the bounds of the input; TypeError for anything else.
    """
    if isinstance(composite, Composite):
        return composite
    if not isinstance(composite, str):
        raise TypeError(f"composite must be a preset's name or a Composite, got {composite!r}")
    if composite == AUTO.name:
        return AUTO
    if composite in _BOUNDED:
        raise ValueError(
            f"composite {composite!r} needs the bounds of the model's input: "
            f"pass lrp_monitor.composites.{composite}(low, high)"
        )
    if composite not in PRESETS:
        known = (AUTO.name, *PRESETS)
        raise ValueError(f"unknown composite {composite!r}{suggestion(composite, known)} Known: {', '.join(known)}")
    return PRESETS[composite]()
