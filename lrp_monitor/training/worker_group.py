"""The processes that train one model together: which one writes, and what all of them must agree on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lrp_monitor.keras_internals import in_several_processes, replicas_of_worker, strategy_of


class WorkerGroup:
    """The workers of a model's distribution strategy; one worker where it is trained in one process.

    Every worker explains and counts as the chief does (they would wait for it in the next step anyway) but writes
    nothing. What a worker takes from its own disk or from rounding must not decide whether it captures a gradient
    or stops, since a step that one worker runs otherwise than the others never ends: that is agreed on here.
    """

    def __init__(self, model: keras.Model) -> None:
        strategy: Any = strategy_of(model)
        together = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        self._strategy = strategy if together and in_several_processes(strategy) else None
        self._summed: Callable[[Any], Any] | None = None

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes: the chief, or the first worker where there is none."""
        if self._strategy is None:
            return True
        resolver = self._strategy.cluster_resolver
        has_chief = bool(resolver.cluster_spec().as_dict().get("chief"))
        return resolver.task_type == "chief" or (
            not has_chief and resolver.task_type == "worker" and resolver.task_id == 0
        )

    def broadcast_from_chief(self, values: Sequence[float]) -> list[float]:
        """The chief's values, on every worker. All workers must call it, with as many values; doubles."""
        if self._strategy is None:
            return list(values)
        return list(self._sum(values if self.is_chief else np.zeros(len(values))))

    def any_worker(self, flag: bool) -> bool:
        """Whether the flag of any worker is set. All workers must call it."""
        return flag if self._strategy is None else bool(self._sum([float(flag)])[0])

    @contextlib.contextmanager
    def all_or_none(self, what: str, close: Callable[[], None]) -> Iterator[None]:
        """A block of code that all workers run: one that raises alone would leave the others waiting for it.

        RuntimeError where another worker has failed, after `close()`. what: what a worker could not do, as text.
        """
        failed: BaseException | None = None
        try:
            yield
        except BaseException as error:
            failed = error
            raise
        finally:
            if self.any_worker(failed is not None) and failed is None:
                close()
                raise RuntimeError(f"LRPMonitor: another worker {what}; its own error says why")

    def _sum(self, values: Any) -> Any:
        """The sum over all workers, each counted once however many replicas it has."""
        strategy = self._strategy
        assert strategy is not None
        if self._summed is None:
            local = float(replicas_of_worker(strategy))

            @tf.function(autograph=False)
            def summed(given: Any) -> Any:
                def one() -> Any:
                    context = tf.distribute.get_replica_context()
                    return context.all_reduce(tf.distribute.ReduceOp.SUM, given / local)

                return strategy.experimental_local_results(strategy.run(one))[0]

            self._summed = summed
        return self._summed(tf.constant(np.asarray(values, np.float64))).numpy()
