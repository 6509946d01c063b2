"""The command line: ``lrp-monitor``. Nothing heavy is imported before a command's arguments are read."""

from lrp_monitor.cli.main import main

__all__ = ["main"]
