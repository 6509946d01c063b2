"""`lrp-monitor view`: the page on this machine alone, without TensorBoard."""

from __future__ import annotations

import argparse
import os
from typing import Any

from lrp_monitor.cli.arguments import OK, add_command, local_folder
from lrp_monitor.cli.errors import CommandError


def add(commands: Any) -> None:
    """Declares the command."""
    parser = add_command(
        commands,
        "view",
        "the LRP page of all runs below a folder, without TensorBoard",
        "Serves the page on the loopback interface of this machine, within a second: TensorFlow is not loaded. Runs\n"
        "that are being logged are followed. Notes made on the page are kept in the runs' folders. Ends with Ctrl+C.",
        "lrp-monitor view runs",
        "lrp-monitor view runs --port 6007 --open",
        "lrp-monitor view runs --read-only",
    )
    parser.add_argument("logdir", metavar="LOGDIR", type=local_folder, help="a folder with runs below it")
    parser.add_argument("--port", type=int, default=0, help="the port to listen at (default: a free one)")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    parser.add_argument("--read-only", action="store_true", help="keep no notes: write nothing below LOGDIR")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Serves until it is stopped. Raises CommandError where the folder or the port cannot be used."""
    from lrp_monitor.plugin import server

    if not os.path.isdir(arguments.logdir):
        raise CommandError(f"{arguments.logdir}: no such folder; give the log_dir of a monitor, or a folder above it")
    if not 0 <= arguments.port <= 65535:
        raise CommandError(f"--port {arguments.port}: give a number from 1 to 65535")
    try:
        listening = server.serve(str(arguments.logdir), arguments.port, writes=not arguments.read_only)
    except OSError as error:
        raise CommandError(
            f"--port {arguments.port}: {error.strerror or error}; leave it out for a free one"
        ) from error
    with listening:
        url = server.address(listening)
        print(f"{url} shows the runs below {arguments.logdir} (Ctrl+C ends it)", flush=True)
        if arguments.open:
            import webbrowser

            webbrowser.open(url)
        try:
            listening.serve_forever()
        except KeyboardInterrupt:
            print()
    return OK
