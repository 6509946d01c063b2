"""What TensorBoard imports at every start: nothing heavy, for an error here stops every TensorBoard."""

from __future__ import annotations

from typing import Any

from tensorboard.plugins import base_plugin


class LRPLoader(base_plugin.TBLoader):  # type: ignore[misc]  # tensorboard ships no types
    """Loads the LRP tab. TensorBoard logs an error raised in ``load`` and goes on without the tab."""

    def load(self, context: base_plugin.TBContext) -> Any:
        """The plugin for TensorBoard's ``context``."""
        from lrp_monitor.plugin.app import LRPPlugin

        return LRPPlugin(context)
