"""Tracebacks of errors that are the user's: they must not end in, or lead through, the code that watches."""

from __future__ import annotations

import traceback
from pathlib import Path
from types import FrameType, TracebackType

import tensorflow as tf

_OURS = str(Path(__file__).parent)


def shown_without_us(error: Exception) -> None:
    """Leaves this package's frames out of what Keras shows of ``error``, once it comes out of ``fit``.

    Keras takes its own frames and TensorFlow's out of a traceback (``error.with_traceback(filtered)``). Of an error
    that a captured step lets through, this package's frames would remain as the last ones, as if it were theirs. Only
    the instance's ``with_traceback`` is shadowed, until it is called; where Keras' filter is off, all frames are shown.
    """
    if isinstance(error, StopIteration | tf.errors.OutOfRangeError):
        return  # the end of the data: no one sees it

    def with_traceback(filtered: TracebackType | None) -> Exception:
        vars(error).pop("with_traceback", None)
        whole = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if not _is_ours(frame)]
        kept = [(frame, line) for frame, line in traceback.walk_tb(filtered) if not _is_ours(frame)]
        made = None
        for frame, line in reversed(kept or whole[-1:]):  # the innermost one where no other is left, as Keras does
            made = TracebackType(made, frame, frame.f_lasti, line)
        return error.with_traceback(made)

    vars(error)["with_traceback"] = with_traceback


def _is_ours(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_OURS)
