"""Errors in the words that a log and a warning have room for."""

from __future__ import annotations


def said(error: BaseException) -> str:
    """An error with its type."""
    return f"{type(error).__name__}: {error}"


def first_line(error: BaseException) -> str:
    """The first line of an error with its type: those of TensorFlow go on for pages."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
