"""Histograms of the gradients of training steps: which steps of ``fit`` are captured, and how.

``fit`` looks up ``model.train_function`` at every step. On a due step it is replaced by a callable that runs a
second train function on the step's batch, traced with ``optimizer.apply`` shadowed so that it counts the gradients
handed to it. The graph of all other steps is the one that Keras made: they cost nothing.
"""

from __future__ import annotations

import itertools
from typing import Any

import keras
import tensorflow as tf

from lrp_monitor.keras_internals import (
    build_by_shapes,
    compiled_loss,
    compiled_metrics,
    layers_of,
    makes_own_train_function,
)
from lrp_monitor.passes.memory import is_out_of_memory
from lrp_monitor.passes.state import Values, kept
from lrp_monitor.store.format import Histogram
from lrp_monitor.text import first_line
from lrp_monitor.training.tensors.captured_step import CapturedStep
from lrp_monitor.training.tensors.counter import Counts, GradientCounter, optimizers_of
from lrp_monitor.training.tensors.names import Names
from lrp_monitor.training.tensors.updates import Update, WeightUpdates
from lrp_monitor.training.tracebacks import shown_without_us

DRAWN_ANEW = (
    "the training gradient is that of the last batch with other random numbers: the model draws from tf.random, whose "
    "state cannot be put back; layers that draw from keras.random with a SeedGenerator give the gradient itself"
)


class GradientCapture:
    """Histograms of the gradients of single training steps of ``fit``, without changing the training.

    Use: ``arm()`` in ``on_train_batch_begin``; the step then runs as ever and is also counted; ``take()``
    afterwards gives the histograms. ``names`` maps stable names to variables, or is a function from variable
    to name; by default ``tensor_names(model)``.

    What is counted is what the train step hands to ``optimizer.apply``, before clipping and weight decay,
    divided by the loss scale (``LossScaleOptimizer``, ``loss_scale_factor``), summed over replicas. With

    - ``gradient_accumulation_steps``: the gradient of the micro-batch of that step;
    - ``steps_per_execution`` > 1: the last of the steps that were executed together;
    - a custom ``train_step`` with several optimizers (attributes of the model, also in lists or dicts): every
      optimizer that was applied; a variable that was updated several times in the step, the last time;
    - several workers: the sum over all of them, so all must arm on the same steps.

    Frozen variables are not listed, variables without gradient carry the note "no gradient".

    Nothing here raises into ``fit``: where a step cannot be captured it runs through Keras' own function on
    the same batch, once, and ``problem`` says why. Trained weights are bit-identical.

    Of Keras' own ``train_step`` the gradient is computed beforehand, on the same batch and from the same state; what
    that changed is restored, and Keras' own function trains. Where this does not do (a custom ``train_step``, several
    steps an execution, a step that calls Python, batches that can be read once) the captured step is the training step.
    Where a step draws from operations that hold the state of their random numbers themselves (plain ``tf.random`` under
    a seed), Keras' own function has to run, or the numbers after it would be others: the gradient is that of other
    random numbers, and ``remark`` notes it. Numbers that a layer counts in Python while it is traced are those of
    another trace in a captured step.

    With ``updates=True`` the step's change of the weights is measured, too, whether or not its gradient could be
    captured: ``take_updates()``.
    """

    def __init__(self, model: keras.Model, *, names: Names | None = None, updates: bool = False) -> None:
        self.problem: str | None = None
        """Why the last due step was not captured, or None."""
        self.remark: str | None = None
        """What is to be known of the last captured gradient, or None."""
        self.samples: int | None = None
        """Number of samples in the last captured batch, over all replicas; None where it is not known."""
        self._model = model
        self._names = names
        self._with_updates = updates
        self._weight_updates = WeightUpdates(model)
        self._plain: Any = None  # Keras' train function, while ours replaces it
        self._one_shot = self._step  # one bound method, so that identity can be compared
        self._built_for: Any = None  # the train function that the capturing one is the twin of
        self._capturing: Any = None
        self._compiled: list[tuple[Any, Any]] = []  # (element spec, CapturedStep)
        self._counter = GradientCounter(model)
        self._refused: str | None = None  # why this train function cannot be captured at all
        self._counted: Counts | None = None  # of the last captured step, until it is taken
        self._leader: GradientCapture | None = None  # whose captured step this one shares
        self._followers: list[GradientCapture] = []

    @property
    def traces(self) -> int:
        """How many times ``optimizer.apply`` was traced (or, eagerly, run) with counting."""
        return self._counter.traces

    def arm(self) -> None:
        """Capture the next training step. Arming twice is arming once. Raises nothing.

        Where another capture of this model is armed already, as with two monitors in one fit, its captured
        step serves both.
        """
        plain = self._model.train_function
        if self._leader is not None or (self._plain is not None and plain is self._one_shot):
            return
        self.problem = self.remark = self._counted = None
        if plain is None:
            self.problem = "there is no train function yet: arm from on_train_batch_begin, inside fit"
            return
        armed = getattr(plain, "__self__", None)
        if isinstance(armed, GradientCapture):
            self._leader = armed
            armed._followers.append(self)
            return
        self._plain = plain
        self._model.train_function = self._one_shot

    def disarm(self) -> None:
        """Put Keras' train function back if a capture is still due; idempotent."""
        if self._leader is not None:
            self._leader._followers.remove(self)
            self._leader = None
        if self._plain is not None and self._model.train_function is self._one_shot:
            self._model.train_function = self._plain
        self._plain = None
        followers, self._followers = self._followers, []
        for follower in followers:  # their step is still due: the first of them leads now
            follower._leader = None
            follower.arm()

    def close(self) -> None:
        """Disarm and free the second train function and its counters; idempotent. It can be armed again."""
        self.disarm()
        self._forget()
        self._counted = None

    def take(self) -> list[Histogram] | None:
        """Histograms (kind "gradient") of the last captured step, or None if none was since the last take.

        Waits for that step to finish. In the order of ``model.trainable_variables``. Raises nothing: where
        the counts cannot be read it returns None and ``problem`` says why.
        """
        if self._counted is None:
            return None
        counted, self._counted = self._counted, None
        try:
            histograms = counted.histograms(self._model, self._names)
        except Exception as error:  # whatever the reason, training must go on without this log
            self.problem = f"the gradient statistics could not be read: {first_line(error)}"
            return None
        if histograms is None:
            self.problem = "the train step applied no gradients through an optimizer of the model"
        return histograms

    def take_updates(self) -> dict[str, Update]:
        """Name -> how far the last due step moved a trainable variable, once; empty without ``updates``."""
        return self._weight_updates.take(self._names)

    @property
    def update_problem(self) -> str | None:
        """Why the last due step's change of the weights was not measured, or None."""
        return self._weight_updates.problem

    # --- the step that replaces Keras' own ---

    def _step(self, iterator: Any) -> Any:
        measured = any(capture._with_updates for capture in (self, *self._followers))
        try:
            if measured:
                self._weight_updates.begin()
            outputs = self._captured_step(iterator)
            if measured:
                self._weight_updates.end()
            return outputs
        except Exception as error:  # the user's own: it goes on as it came
            shown_without_us(error)
            raise
        finally:
            self._weight_updates.drop()
            followers, self._followers = self._followers, []
            for follower in followers:
                follower._leader = None
                follower._weight_updates.share(self._weight_updates)
                follower.problem, follower.samples, follower.remark = self.problem, self.samples, self.remark
                follower._counted = self._counted

    def _captured_step(self, iterator: Any) -> Any:
        plain, self._plain = self._plain, None
        model = self._model
        if model.train_function is self._one_shot:
            model.train_function = plain
        first = self._built_for is not plain
        if first:
            self._forget()
            self._built_for = plain
        self.problem = self._refused or (self._too_early(iterator) if first else None)
        if self.problem is not None:
            return plain(iterator)
        step = None
        try:
            self._prepare(plain)
            step = self._compiled_step(plain, iterator)
        except Exception as error:  # an unforeseen model or data type: not a reason to stop the training
            self._failed(error, "a capturing train function could not be made")
        if self.problem is not None:  # outside of the handler: what training raises has nothing to do with that
            return plain(iterator)
        if step is None:
            self.samples = None
            with self._counter.counting():
                outputs = self._capturing(iterator)
            self._finished()
            return outputs
        if isinstance(step, CapturedStep) and (step.apart or step.draws_by_itself):
            return self._run_beside(step, plain, iterator)
        return self._run(step, plain, iterator)

    def _run(self, step: Any, plain: Any, iterator: Any) -> Any:
        """Fetch batch by batch, so that a batch whose capture fails can still be trained on, once."""
        outputs, wanted = None, int(self._model.steps_per_execution)
        for done in range(wanted):
            try:
                batch = next(iterator)
            except StopIteration:
                if done == 0:
                    raise
                break
            updates = self._updates()
            before = Values(step.aside) if isinstance(step, CapturedStep) else None
            try:
                with self._counter.counting():
                    outputs = step(batch)
            except Exception as error:
                # Where the weights have moved, running the batch again would train on it twice; in eager mode what
                # fails is the user's own step: a failure of counting is caught in `counting_apply`, which reports it.
                if self._updates() != updates or self._model.run_eagerly:
                    raise
                if before is not None:
                    before.put_back()
                self._failed(error)
            if self.problem is not None:
                batches = [batch, *itertools.islice(iterator, wanted - done - 1)]
                feed = _again(batches, iterator)
                return plain(iter(batches if feed is None else feed))
            self.samples = _samples(batch, self._model.distribute_strategy)
        self._finished()
        return outputs

    def _run_beside(self, step: CapturedStep, plain: Any, iterator: Any) -> Any:
        """Count on the coming batches, put back everything that moved, and have Keras' function run on them."""
        batches: list[Any] = []
        feed = _again(batches, iterator)
        if feed is None:
            self._refuse("the step draws from tf.random, and batches of this type cannot be given to it twice")
            return plain(iterator)
        batches += itertools.islice(iterator, int(self._model.steps_per_execution))
        if not batches:
            raise StopIteration
        try:
            with kept(step.moved), self._counter.counting():
                for batch in batches:
                    step(batch)
            self.samples = _samples(batches[-1], self._model.distribute_strategy)
            self._finished()
            self.remark = DRAWN_ANEW if step.draws_by_itself else None
        except Exception as error:  # whatever it is, the training step itself is still to run
            self._failed(error)
        return plain(iter(feed))

    def _too_early(self, iterator: Any) -> str | None:
        """Why the first step of a train function is left to Keras, or None.

        Variables that are made while a graph is traced belong to that graph. If ours made them and then
        failed, Keras' own function could never run: so ours only runs once everything is there.
        """
        model = self._model
        parts = [*layers_of(model, itself=False), *optimizers_of(model)]
        parts += [part for part in (compiled_metrics(model), compiled_loss(model)) if part is not None]
        if model.run_eagerly or all(part.built for part in parts):
            return None
        if type(model).train_step is not keras.Model.train_step:
            return "the first step of a custom train_step makes variables: captured from the next one on"
        try:
            # What Keras itself does before the first step on other backends and under a strategy.
            build_by_shapes(model, iterator.element_spec)
        except Exception as error:  # Keras builds it in the first step then, as it always did
            return f"the model is built in its first step, and could not be before: {first_line(error)}"
        return None

    def _prepare(self, plain: Any) -> None:
        """Make the twin of Keras' train function, once for each compile state; traced when first run."""
        if self._capturing is None:
            self._capturing = self._twin(plain)
            self._counter.begin()
        self._counter.clear()

    def _twin(self, plain: Any) -> Any:
        model = self._model
        try:
            model.make_train_function(force=True)
            return model.train_function
        finally:
            model.train_function = plain

    def _compiled_step(self, plain: Any, iterator: Any) -> Any:
        """From one batch to the train function's outputs, with the graph that Keras' function has inside.

        None where the train function is not Keras' own make or is not fed by an iterator of batches: then all
        that can be done is to hand it what it was to be given.
        """
        model = self._model
        if makes_own_train_function(model) or not isinstance(
            iterator, tf.data.Iterator | tf.distribute.DistributedIterator
        ):
            return None
        if model.run_eagerly:
            capturing = self._capturing
            return lambda batch: capturing([batch])
        # The iterator's own element type: with the fixed shapes of a batch the graph could be optimised to
        # other, differently rounded kernels, and a last, smaller batch would be traced again.
        spec = iterator.element_spec
        for known, compiled in self._compiled:
            if known == spec:
                return compiled
        # Without the updates it is half the graph, and no gradient lies in memory longer than it takes to count it.
        compiled = self._traced(plain, spec, apart=True) if self._can_be_apart(iterator) else None
        if compiled is None or not compiled.restorable:
            compiled = self._traced(plain, spec, apart=False)
        self._compiled.append((spec, compiled))
        return compiled

    def _traced(self, plain: Any, spec: Any, *, apart: bool) -> CapturedStep:
        model, twin = self._model, self._twin(plain)
        updated = [v for optimizer in optimizers_of(model) for v in (*optimizer.variables, *model.trainable_variables)]
        with self._counter.counting(applied=not apart):
            return CapturedStep(
                model, lambda batch: twin([batch]), spec, self._counter.variables, updated, apart=apart
            )  # fmt: skip

    def _can_be_apart(self, iterator: Any) -> bool:
        """Whether the gradient of a step is that of its batch whatever is applied, and Keras can be given it again."""
        model = self._model
        own_step = type(model).train_step is keras.Model.train_step and "train_step" not in model.__dict__
        return own_step and int(model.steps_per_execution) == 1 and _again([], iterator) is not None

    def _finished(self) -> None:
        self.problem = self._counter.problem
        self._counted = self._counter.counts if self.problem is None else None

    def _failed(self, error: Exception, what: str = "the capturing train function failed") -> None:
        """Out of memory may be over at the next log; anything else would come again."""
        self.problem = f"{what}: {first_line(error)}"
        if not is_out_of_memory(error):
            self._refused = self.problem

    def _refuse(self, reason: str) -> None:
        self.problem = self._refused = reason

    def _forget(self) -> None:
        self._built_for = self._capturing = self._refused = None
        self._compiled = []
        self._counter.forget()

    def _updates(self) -> int:
        """A number that every applied step changes: the sum of the optimizers' step counters."""
        return sum(
            int(keras.ops.convert_to_numpy(variable))
            for optimizer in optimizers_of(self._model)
            for variable in optimizer.variables
            if variable.shape == () and keras.backend.is_int_dtype(variable.dtype)
        )


def _again(batches: list[Any], iterator: Any) -> Any:
    """A data set of batches that were taken from ``iterator``, None where there is none of their type.

    Of the iterator's own element type: for another one Keras' function would be traced anew, and draw and round anew.
    """
    try:
        return tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=iterator.element_spec)
    except Exception:  # of several replicas, or of a type that only its own data set can hand out
        return None


def _samples(batch: Any, strategy: Any) -> int | None:
    leaves = [leaf for leaf in tf.nest.flatten(batch) if leaf is not None]
    parts = strategy.experimental_local_results(leaves[0]) if leaves else ()
    shapes = [getattr(part, "shape", None) for part in parts]
    if not shapes or any(shape is None or not len(shape) for shape in shapes):
        return None
    return sum(int(shape[0]) for shape in shapes if shape is not None)
