"""A project of its own for tests of the pytest plugin."""

from __future__ import annotations

from pathlib import Path

import pytest
import regression_helpers


@pytest.fixture
def project(pytester, monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    pytester.makepyfile(helpers=Path(regression_helpers.__file__).read_text())
    return pytester
