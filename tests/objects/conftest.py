"""An object store of this process, empty for each test; the helpers of the store's and the monitor's tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

for folder in ("store", "training"):
    sys.path.append(str(Path(__file__).parents[1] / folder))

from object_store import ObjectStore, object_store  # noqa: E402  # needs none of the above, but stands with it


@pytest.fixture
def store() -> Iterator[type[ObjectStore]]:
    with object_store() as found:
        yield found
