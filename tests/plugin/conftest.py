"""Real TensorBoard processes for the plugin's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from plugin_helpers import Server, Start
from tensorboard_process import TensorBoard, board


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts TensorBoards with flags of their own, ``--logdir`` or ``--logdir_spec`` among them."""
    running: list[TensorBoard] = []

    def launch(*arguments: str, tensorflow: bool = False) -> Server:
        log = tmp_path_factory.mktemp("tensorboard") / "log.txt"
        running.append(TensorBoard("", log=log, command=board(*arguments, tensorflow=tensorflow)))
        return Server(running[-1].url + "/")

    yield launch
    for tensorboard in running:
        tensorboard.terminate()
    for tensorboard in running:
        tensorboard.stop()
