"""Opening a saved model for the command line: with Keras' safe mode on, and failures in one line."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lrp_monitor.console import quiet_tensorflow
from lrp_monitor.text import in_one_line

TRUST = "--trust-model"


class ModelFileError(Exception):
    """A model file cannot be opened; the message is one line and names the file and the way out."""


def load_model(path: Path, trust: bool = False, modules: Sequence[str] = ()) -> Any:
    """The Keras model in a file, not compiled.

    Args:
        trust: also run Python code that the file holds (Lambda layers).
        modules: imported first; they register custom layers.

    Raises:
        ModelFileError: where the file is not there, or is no model that can be loaded.
    """
    _check_file(path)
    with quiet_tensorflow():
        import keras
    for module in modules:
        _import(module)
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=not trust)
    # Whatever a foreign or damaged file makes Keras raise on its way through zip, JSON, HDF5 and constructors.
    except (
        ArithmeticError, AssertionError, AttributeError, EOFError, ImportError, LookupError, NotImplementedError,
        OSError, RuntimeError, SyntaxError, TypeError, ValueError,
    ) as error:  # fmt: skip
        raise ModelFileError(f"{path}: {_reason(error, trust)}") from error


def _check_file(path: Path) -> None:
    if not path.exists():
        raise ModelFileError(f"{path}: no such file; give a model that model.save wrote, such as model.keras")
    if path.is_dir() and not (path / "config.json").exists():
        what = "a TensorFlow SavedModel" if (path / "saved_model.pb").exists() else "a folder"
        raise ModelFileError(f"{path}: {what}, which holds no Keras model; save it with model.save('model.keras')")


def _import(module: str) -> None:
    here = os.getcwd()
    if here not in sys.path:  # as `python -m` does: a module beside the model is found
        sys.path.insert(0, here)
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise ModelFileError(f"--import {module}: {error}") from error


def _reason(error: Exception, trust: bool) -> str:
    words = in_one_line(error)
    if not trust and ("safe_mode" in words or "unsafe_deserialization" in words):
        return (
            "holds Python code (a Lambda layer, or a function saved with the model), which opening it would run: "
            f"where you trust its source, add {TRUST}"
        )
    if "register_keras_serializable" in words or "Could not locate" in words:
        found = words.split("Could not locate ", 1)[-1].split(".", 1)[0]
        return (
            f"could not locate {found}: it is not part of Keras; name the module that registers it with "
            "keras.saving.register_keras_serializable: --import MODULE"
        )
    return f"not a model that Keras can open ({words[:300] or type(error).__name__})"
