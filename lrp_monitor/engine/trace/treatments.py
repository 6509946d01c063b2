"""What only a layer can say: how a loop over time, or over steps, is written as operations, and what no rule covers.

A treatment takes a :class:`~lrp_monitor.engine.trace.recording.LayerCall` and returns what the layer's own ``call``
would, made of operations that have rules. A layer without one is what its operations are.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras
from keras import layers as kl
from keras import ops

from lrp_monitor.encodings import ENCODINGS, behind_encodings
from lrp_monitor.engine import backend
from lrp_monitor.keras_internals import takes_mask, takes_training
from lrp_monitor.passes.shadows import shadows

if TYPE_CHECKING:
    from lrp_monitor.engine.trace.recording import LayerCall

Treatment = Callable[["LayerCall"], Any]


def register(layer_type: type, treatment: Treatment) -> None:
    """Have every layer of this type (and of its subclasses that leave ``call`` alone) run by ``treatment(call)``.

    ``call`` has the ``layer``, the ``args`` and ``kwargs`` of its call and the layer's ``original`` function.
    The treatment returns what that would return, written in operations that have rules; tensors that it adds to
    ``call.constants`` carry no relevance. Raises TypeError for what is no class of layers.
    """
    if not (isinstance(layer_type, type) and issubclass(layer_type, keras.layers.Layer)):
        raise TypeError(f"a treatment is registered for a class of Keras layers, got {layer_type!r}")
    _TREATMENTS[layer_type] = treatment


def treatment_of(layer: Any) -> Treatment | None:
    """How ``layer`` is run: as the class whose ``call`` it has; None where it has one of its own."""
    base = next((base for base in type(layer).__mro__ if base in _TREATMENTS), None)
    return _TREATMENTS[base] if base is not None and type(layer).call is base.call else None  # type: ignore[attr-defined]


def is_loop(layer: Any) -> bool:
    """Whether ``layer`` is a loop over time."""
    return isinstance(layer, kl.RNN)


_OPEN = (
    "the number of time steps is not known when the model is traced, and the loop is unrolled over them; give the "
    "model's Input its length, or pad or crop to a fixed length in front of this layer"
)


def hides_its_parts(layer: Any) -> bool:
    """Whether ``layer`` is listed in place of the layers inside it."""
    return is_loop(layer) or isinstance(layer, kl.Bidirectional)


def unrolled(call: LayerCall) -> Any:
    """A recurrent layer, its loop unrolled; the gates of Keras' own cells are constants ("signal takes all").

    Source: Arras et al. 2017 ("Explaining Recurrent Neural Network Predictions in Sentiment Analysis"), weighted
    connections and multiplicative interactions; Arras et al. 2019 ("Explaining and Interpreting LSTMs"), LRP-all.
    """
    layer = call.layer
    given = inspect.signature(call.original).bind(*call.args, **call.kwargs).arguments
    with shadows() as put:
        if layer.stateful:  # its states are neither read nor written
            call.notes.append(
                "is stateful: explained is the model as after reset_state(), and its states stay as they are"
            )
            put(layer, "stateful", False)
        if given["sequences"].shape[1] is None:
            call.problems.append(_OPEN)
            return call.original(*call.args, **call.kwargs)
        put(layer, "unroll", True)
        if layer.zero_output_for_mask:  # Keras' unrolled loop takes the mask forwards when it goes backwards
            put(layer, "zero_output_for_mask", False)
            put(layer, "inner_loop", _zeroed(layer))
        if hasattr(layer, "use_cudnn"):
            put(layer, "use_cudnn", False)
        for cell in cells_of(layer.cell):
            gate = getattr(cell, "recurrent_activation", None)
            if gate is not None and "keras" in type(cell).__module__.split("."):
                put(cell, "recurrent_activation", _constant(call, gate))
        return call.original(*call.args, **call.kwargs)


def _zeroed(layer: Any) -> Callable[..., Any]:
    """The layer's loop, with zeros where steps are masked out."""
    loop = layer.inner_loop

    def inner_loop(sequences: Any, initial_state: Any, mask: Any, training: Any = False) -> Any:
        last, outputs, states = loop(sequences, initial_state, mask, training)
        if mask is None:
            return last, outputs, states
        here = keras.tree.flatten(mask)[0]
        here = ops.cast(ops.flip(here, axis=1) if layer.go_backwards else here, "bool")[:, -outputs.shape[1] :]
        here = ops.reshape(here, (*here.shape, *(1 for _ in outputs.shape[2:])))
        outputs = ops.where(here, outputs, ops.zeros_like(outputs))
        return outputs[:, -1], outputs, states

    return inner_loop


def _constant(call: LayerCall, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def made(x: Any) -> Any:
        y = backend.identity(function(x))
        call.constants.append(y)
        return y

    return made


def cells_of(cell: Any) -> list[Any]:
    """The cells that a cell is made of."""
    if isinstance(cell, kl.StackedRNNCells):
        return [inner for part in cell.cells for inner in cells_of(part)]
    return [cell]


def every_step_at_once(call: LayerCall) -> Any:
    """TimeDistributed: the layer inside sees all time steps as samples of their own, in one call."""
    given = inspect.signature(call.original).bind(*call.args, **call.kwargs).arguments
    x, inside = given["inputs"], call.layer.layer
    steps = x.shape[1]
    if steps is None:
        call.problems.append(_OPEN)
        return call.original(*call.args, **call.kwargs)

    def joined(value: Any) -> Any:
        return ops.reshape(value, (-1, *value.shape[2:]))

    arguments: dict[str, Any] = {}
    if given.get("mask") is not None and takes_mask(inside):
        arguments["mask"] = joined(given["mask"])
    if takes_training(inside):
        arguments["training"] = given.get("training")
    y = inside.call(joined(x), **arguments)
    return ops.reshape(y, (-1, steps, *y.shape[1:]))


_TREATMENTS: dict[type, Treatment] = {
    **dict.fromkeys((kl.RNN, kl.LSTM, kl.GRU, kl.SimpleRNN, kl.ConvLSTM1D, kl.ConvLSTM2D, kl.ConvLSTM3D), unrolled),
    kl.TimeDistributed: every_step_at_once,
}


def refusal_of(layer: Any, model: Any) -> str | None:
    """Why no rule covers a ``layer`` of ``model`` whatever its operations are; None where that is not so."""
    if not isinstance(layer, ENCODINGS):
        return None
    what = "there is no treatment for this type of layer: it encodes values as numbers of classes"
    return f"{what}, which carry no relevance; {behind_encodings(model)}"
