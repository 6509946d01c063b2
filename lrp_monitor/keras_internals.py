"""What this package needs of Keras and TensorFlow beyond their public names: each private name once, and why.

Nowhere else is one used. Where an upgrade takes one away, ``tests/test_keras_internals.py`` fails and names it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

# --- Keras: layers ---


def layers_of(layer: Any, *, itself: bool = True, nested: bool = True) -> list[Any]:
    """A layer or model and all layers inside it; the public ``layers`` has those of one level, and only of a model."""
    found: list[Any] = layer._flatten_layers(include_self=itself, recursive=nested)
    return found


def takes_training(layer: Any) -> bool:
    """Whether ``call`` has the argument ``training``, as Keras itself decides it: the signature of a wrapper lies."""
    return bool(layer._call_has_training_arg)


def takes_mask(layer: Any) -> bool:
    """Whether ``call`` has the argument ``mask``; see ``takes_training``."""
    return bool(layer._call_has_mask_arg)


def variables_made_trainable(part: Any) -> list[Any]:
    """What a layer trains unless it is frozen, when ``trainable_variables`` is empty; an optimizer's own."""
    found: list[Any] = part._trainable_variables
    return found


def symbolic_inputs(layer: Any) -> list[Any]:
    """The symbolic tensors that a layer was called on last; none outside of functional models.

    The public ``input`` raises where it was called more often than once.
    """
    nodes = layer._inbound_nodes
    return list(nodes[-1].input_tensors) if nodes else []


def symbolic_calls(layer: Any) -> list[tuple[list[Any], list[Any]]]:
    """The symbolic tensors of each call of a layer in functional models: those taken, and those given."""
    return [(list(node.input_tensors), list(node.outputs)) for node in layer._inbound_nodes]


def keep_losses(put: Callable[[Any, str, Any], None], layer: Any) -> None:
    """Shadows (``passes.shadows``) the lists to which a call adds losses; ``losses`` is made of them anew."""
    put(layer, "_losses", list(layer.__dict__.get("_losses", ())))
    put(layer, "_loss_ids", set(layer.__dict__.get("_loss_ids", ())))


def compute_in_float32(put: Callable[[Any, str, Any], None], layer: Any) -> None:
    """Shadows the policy of a layer by one that computes in float32 and leaves the variables as they are.

    The public setter of ``dtype_policy`` also sets the policies of layers inside, and no public policy has two types
    of its own choice.
    """
    import keras

    policy = keras.DTypePolicy("float32")
    policy._variable_dtype = layer.variable_dtype
    put(layer, "_dtype_policy", policy)


def add_by_sample(put: Callable[[Any, str, Any], None]) -> None:
    """Shadows Keras' addition by one that takes no number of each sample for a bias.

    Keras takes a second term (n, 1) for the bias of n channels where the first one has as many and n is known, as it is
    in a pass.
    """
    from keras.src import backend

    add = backend.numpy.add

    def added(x1: Any, x2: Any) -> Any:
        one, two = (tuple(getattr(x, "shape", ())) for x in (x1, x2))
        by_sample = len(one) == len(two) > 1 and two[0] != 1 and set(two[1:]) == {1}
        return add(x2, x1) if by_sample else add(x1, x2)  # a first term is never taken for one

    put(backend.numpy, "add", added)


def order_of_one_sample(put: Callable[[Any, str, Any], None], n: int | None) -> None:
    """Shadows how TensorFlow orders the products of an einsum of several operands: for n samples as for one.

    It takes all sizes for that, and the order says which products are one weighted map. In ``fit``, where n is not
    known, it counts them as one.
    """
    from tensorflow.python.ops import special_math_ops

    in_order = special_math_ops._get_opt_einsum_contract_path

    def ordered(equation: str, shaped: tuple[Any, ...], optimize: Any) -> Any:
        operands, _, output = equation.partition("->")
        terms = [dict(zip(term, one.shape, strict=True)) for term, one in zip(operands.split(","), shaped, strict=True)]
        first = {next(iter(sizes)): next(iter(sizes.values())) for sizes in terms if sizes}
        sample = next((label for label in output if n and label in first and first[label] % n == 0), None)
        for sizes in terms:
            if sample in sizes:
                sizes[sample] //= n
        shaped = tuple(one._replace(shape=tuple(sizes.values())) for one, sizes in zip(shaped, terms, strict=True))
        return in_order(equation, shaped, optimize)

    put(special_math_ops, "_get_opt_einsum_contract_path", ordered)


# --- Keras: compiled models and fit ---


def compiled_loss(model: Any) -> Any:
    """The object that ``fit`` calls, another one after each ``compile``; ``model.loss`` is what the user gave."""
    return model._compile_loss


def compiled_metrics(model: Any) -> Any:
    """The object that holds the metrics of ``compile``; ``model.metrics`` has them only once they are built."""
    return model._compile_metrics


def loss_of_training(model: Any, x: Any, y: Any, predicted: Any) -> Any:
    """The loss without weights as ``train_step`` takes it: ``compute_loss``, given what an override of it takes."""
    return model._compute_loss(x=x, y=y, y_pred=predicted, sample_weight=None, training=False)


def build_by_shapes(model: Any, spec: Any) -> None:
    """Builds model, loss, metrics and optimizer for batches of a type, as Keras does before a first step elsewhere."""
    model._symbolic_build(data_batch=spec)


def makes_own_train_function(model: Any) -> bool:
    """Whether a model's class makes its ``train_function`` in another way than Keras; nothing public tells."""
    import keras

    makers = ("make_train_function", "_make_function")
    return any(getattr(type(model), name) is not getattr(keras.Model, name) for name in makers)


def strategy_of(model: Any) -> Any:
    """The strategy under whose scope a model was made, or None; ``distribute_strategy`` gives the present one then."""
    return getattr(model, "_distribute_strategy", None)


def samples_of_fit() -> int | None:
    """Samples in a batch of the ``fit`` that called this, over all replicas; None where it is not known.

    Keras tells it to no callback. Read off the iterator among ``fit``'s own variables: the data that it was given may
    be an array, a data set or a generator of batches.
    """
    frame = sys._getframe()
    while frame is not None:
        found = frame.f_locals.get("epoch_iterator") if frame.f_code.co_name == "fit" else None
        adapter = getattr(found, "data_adapter", None)
        if adapter is not None:
            return samples_of_adapter(adapter)
        frame = frame.f_back  # type: ignore[assignment]  # None behind the outermost one
    return None


def samples_of_adapter(adapter: Any) -> int | None:
    """Samples in a batch of what ``fit`` wraps its data in; an adapter of a data set knows the data set alone."""
    given = getattr(adapter, "batch_size", None)
    if given is None:
        given = _batch_size(getattr(adapter, "_dataset", None))
    return int(given) if given else None


def _batch_size(dataset: Any) -> int | None:
    """Of the last batching among the steps that made a data set: its type has only the size that is static."""
    sizes = (getattr(step, "_batch_size", None) for step in data_pipeline(dataset))
    return next((int(size) for size in sizes if size is not None), None)


# --- TensorFlow ---


def data_pipeline(dataset: Any) -> Iterator[Any]:
    """A data set and those that it is made of, the last step first; nothing public leads back from one to the other.

    Of what is no ``tf.data.Dataset`` itself alone; nothing for None.
    """
    while dataset is not None:
        yield dataset
        dataset = getattr(dataset, "_input_dataset", None)


def in_several_processes(strategy: Any) -> bool:
    """Whether a MultiWorkerMirroredStrategy has other workers: without a cluster it is one of a single process."""
    return bool(strategy.extended._in_multi_worker_mode())


def replicas_of_worker(strategy: Any) -> int:
    """Replicas in this process; ``num_replicas_in_sync`` counts those of all workers."""
    return int(strategy.extended._num_replicas_in_sync // strategy.extended._num_workers)


def inner_functions(graph: Any) -> dict[str, Any]:
    """The functions that a graph's operations call, by name; the public ``GraphDef`` has no graphs of them."""
    found: dict[str, Any] = graph._functions
    return found


def forget_custom_gradients(graph: Any) -> None:
    """Takes the custom gradients of a graph's own operations out of TensorFlow's register, which holds them for good.

    Each keeps its graph alive. To be called when the graph has all its gradients; those of the functions that it calls
    stay, since others may call these, too.
    """
    from tensorflow.python.framework import ops

    for op in graph.get_operations():
        name = op.node_def.attr["_gradient_op_type"].s.decode() if op.type == "IdentityN" else ""
        if name.startswith("CustomGradient-"):  # others are there for more than one graph
            ops.gradient_registry._registry.pop(name, None)


def unrecorded() -> contextlib.AbstractContextManager[Any]:
    """Hides what is done inside from all gradient tapes; a public tape can only pause itself."""
    from tensorflow.python.eager import record

    found: contextlib.AbstractContextManager[Any] = record.stop_recording()
    return found


def variable_type(handle: Any) -> Any:
    """The type of the variable behind a resource, None where it is no variable: a captured handle has no variable."""
    import tensorflow as tf

    known = handle._handle_data if handle.dtype == tf.resource and hasattr(handle, "_handle_data") else None
    if known is None or not known.is_set or len(known.shape_and_type) != 1:
        return None
    return tf.as_dtype(known.shape_and_type[0].dtype)


def read_only_inputs(graph: Any) -> Iterator[Any]:
    """The resources that a graph takes and only reads; the public ``inputs`` and ``captures`` list all alike."""
    from tensorflow.python.framework import auto_control_deps_utils as resources

    return (graph.inputs[index] for index in resources.get_read_only_resource_input_indices_graph(graph))


def memory_limits() -> dict[str, int]:
    """Bytes that TensorFlow may allocate, by device; public is only what it has allocated."""
    from tensorflow.python.client import device_lib  # costs nothing where there is no accelerator

    return {device.name: int(device.memory_limit) for device in device_lib.list_local_devices()}


def is_deterministic() -> bool:
    """Whether ``tf.config.experimental.enable_op_determinism`` was called: there is no public word of it."""
    from tensorflow.python.framework import config

    return bool(config.is_op_determinism_enabled())
