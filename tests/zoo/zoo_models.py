"""The model zoo: architectures that nobody here wrote, by name."""

from __future__ import annotations

from zoo_entry import Entry
from zoo_hub import HUB
from zoo_packages import PACKAGES

ZOO: dict[str, Entry] = {**HUB, **PACKAGES}
