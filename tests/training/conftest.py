from collections.abc import Iterator

import pytest
from forked import Forked


@pytest.fixture(scope="session")
def forked() -> Iterator[Forked]:
    """Processes without their four seconds of imports."""
    process = Forked()
    yield process
    process.close()
