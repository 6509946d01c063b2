"""`lrp-monitor tensorboard`: TensorBoard on an object store's folder."""

from __future__ import annotations

import argparse
import sys
import types
from typing import Any

from lrp_monitor.cli.arguments import OK, add_command
from lrp_monitor.cli.errors import CommandError


def add(commands: Any) -> None:
    """Declares the command."""
    parser = add_command(
        commands,
        "tensorboard",
        "TensorBoard on runs of an object store (s3:// ...)",
        "Starts TensorBoard on a log directory of an object store. Where TensorFlow is installed, `tensorboard`\n"
        "reads files through it, which knows local paths and gs:// alone; this starts it with the file access\n"
        "that it has for machines without TensorFlow: fsspec's. Plugins that need TensorFlow are left out.",
        "lrp-monitor tensorboard s3://bucket/runs",
        "lrp-monitor tensorboard s3://bucket/runs -- --port 6007 --reload_interval 30",
    )
    parser.add_argument("logdir", metavar="LOGDIR", help="the log_dir that the monitor was given, or a folder above")
    parser.add_argument("options", nargs="*", metavar="OPTION", help="TensorBoard's own options, after --")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Serves until it is stopped. Raises CommandError where the folder or an option cannot be used."""
    from lrp_monitor.store.format import StoreError
    from lrp_monitor.store.storage import open_storage

    try:
        open_storage(arguments.logdir)  # its error names what is missing
    except StoreError as error:
        raise CommandError(str(error)) from error
    # TensorBoard's own switch: with a module of this name it leaves TensorFlow alone.
    sys.modules["tensorboard.compat.notf"] = types.ModuleType("tensorboard.compat.notf")
    from tensorboard import default, program
    from tensorboard.plugins import base_plugin

    server = program.TensorBoard(plugins=default.get_plugins())
    try:
        server.configure(["tensorboard", f"--logdir={arguments.logdir}", *arguments.options])
    except base_plugin.FlagsError as error:
        raise CommandError(str(error)) from error
    return int(server.main() or OK)
