"""Damaged stores: real runs, harmed, then read by every method of the reader and every route of the plugin."""

from __future__ import annotations

import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fuzz_mutations as mutations
import numpy as np
from fuzz_mutations import Damage

from lrp_monitor.plugin.wire import film_answer, step_answer
from lrp_monitor.regression.snapshot import Snapshot
from lrp_monitor.store.clusters import StepClusters
from lrp_monitor.store.folders import store_folder
from lrp_monitor.store.format import Histogram, InputInfo, ProbeInfo, StepRecord, StoreError
from lrp_monitor.store.reader import Run, open_run
from lrp_monitor.store.writer import RunWriter

CANARY = "canary-4f1d"
"""Stands in every text of a run outside the log directory: no answer may hold it."""
PROBES = "probes.tfrecord"
Files = dict[str, bytes]


def _inputs(rng: Any, n: int, shape: tuple[int, ...], mark: str, *, several: bool) -> list[InputInfo]:
    """The inputs of maps of ``shape``: one of it, or a text and a table that fill it together."""
    if not several or shape[0] < 3:
        kind = "series" if len(shape) == 2 else "grid"
        values = rng.standard_normal((n, *shape)).astype(np.float32) if kind == "series" else None
        return [InputInfo("inputs", kind, shape, shape, None, values=values)]
    texts = [[f"{mark}word {i}" for i in range(2)] for _ in range(n)]
    rest = (shape[0] - 2,)
    table = rng.standard_normal((n, *rest)).astype(np.float32)
    return [
        InputInfo(f"{mark}ids", "tokens", (2,), (2,), tokens=texts, values=np.ones((n, 2), np.float32)),
        InputInfo("table", "table", rest, rest, [f"{mark}{i}" for i in range(rest[0])], values=table),
    ]


def log_run(folder: Path, seed: int, *, shape: tuple[int, ...], encoding: str, mark: str = "", **options: Any) -> None:
    """Two overlapping sessions of a small run, with clusters found afterwards."""
    rng = np.random.default_rng(seed)
    n = 3
    channels = bool(options.pop("channels", False))
    probes = ProbeInfo(
        names=[f"{mark}probe {i}" for i in range(n)],
        labels=np.arange(n, dtype=np.int64) if channels else None,
        class_names=[f"{mark}disk", "square", "cross"] if channels else None,
        images=rng.integers(0, 256, (n, 4, 5, 3), dtype=np.uint8),
        masks={f"{mark}stamp": rng.random((n, *shape)) < 0.5, "other": np.ones((n, *shape), bool)},
        map_shape=shape,
        hash=f"{seed:032x}",
        input_shape=(*shape, 3),
        statistics={"min": [0.0, -0.5], "max": [1.0, 2.5]},
        region=rng.random((n, 3, 2)) < 0.5 if channels else None,
        region_of=np.arange(n, dtype=np.int64) if channels else None,
        inputs=_inputs(rng, n, shape, mark, several=len(shape) == 1),
        numbers=None if channels else rng.standard_normal((n, 2)),
    )
    for first in (0, 2):
        with RunWriter(folder / "lrp", probes, meta={"model": f"{mark}net"}, encoding=encoding, **options) as writer:
            for step in range(first, first + 4):
                maps = rng.standard_normal((n, *shape)).astype(np.float32)
                counts = rng.integers(1, 9, 3)
                writer.append(
                    StepRecord(
                        step, step, 10 * step, 1.7e9 + step,
                        heatmaps=maps,
                        channels=np.stack([maps / 2] * 2, axis=-1) if channels else None,
                        probes={name: rng.standard_normal(n) for name in ("logit", "target", "prediction", "sum")},
                        scalars={f"{mark}lrp/drift": float(step), "weights/norm": float("nan")},
                        histograms=[
                            Histogram("weight", f"{mark}a/kernel", 20, buckets=np.array([500, 510, 1530], np.uint16),
                                      counts=counts, minimum=-1.0, maximum=2.0),
                            Histogram("gradient", "a/kernel", 9, note="no gradient"),
                        ],
                        notes=[f"{mark}note"],
                        gradient_batch=step,
                    )
                )  # fmt: skip
    run = open_run(folder)
    run.write_clusters(StepClusters(1, run.record(1).session, np.array([0, 1, 0]), np.array([0.0, 0.3]), {"side": 4}))
    note = {"format": 1, "step": 1, "text": f"{mark}by hand", "wall_time": 1_700_000_000}
    Path(run.path, f"note-{10**18}-{'ab' * 4}.json").write_text(json.dumps(note))


class StoreFuzz:
    """One case after the other in one log directory; ``folder`` is scratch."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.logs = folder, folder / "logs"
        self.base: list[Files] = []
        kinds: list[dict[str, Any]] = [
            {"shape": (6, 5), "encoding": "sqrt8", "channels": True, "segment_bytes": 3000},
            {"shape": (6, 5), "encoding": "float16"},
            {"shape": (7,), "encoding": "float32"},
            {"shape": (2, 3, 4), "encoding": "sqrt8", "max_store_mb": 0.006},
        ]
        for number, options in enumerate(kinds):
            log_run(folder / f"base{number}", number, **options)
            self.base.append(read_folder(Path(store_folder(folder / f"base{number}" / "lrp"))))
        self.outside = folder / "outside"
        log_run(self.outside, 0, shape=(6, 5), encoding="sqrt8", channels=True, mark=CANARY)
        self.outside_files = read_folder(Path(store_folder(self.outside / "lrp")))
        self.store = Path(store_folder(self.logs / "run" / "lrp"))

    def harm(self, damage: Damage) -> str:
        """Writes one store and harms it; returns how."""
        files = dict(damage.one(self.base))
        shutil.rmtree(self.logs / "run", ignore_errors=True)
        self.store.mkdir(parents=True)
        done = []
        after: list[Callable[[], None]] = []
        for _ in range(1 + damage.below(3)):
            way = damage.one(self._ways())
            done.append(way.__name__.strip("_"))
            later = way(damage, files)
            if later is not None:
                after.append(later)
        for name, data in files.items():
            (self.store / name).write_bytes(data)
        for later in after:
            later()
        return "+".join(done)

    def _ways(self) -> list[Callable[[Damage, Files], Callable[[], None] | None]]:
        return [
            self._bytes, self._bytes, self._frames, self._length, self._fields, self._header, self._header,
            self._header, self._header_text, self._table, self._bomb, self._probes, self._probes, self._sidecar,
            self._objects, self._names, self._crumbs,
        ]  # fmt: skip

    def _pick(self, damage: Damage, files: Files, start: str = "") -> str:
        names = sorted(name for name in files if name.startswith(start)) or [f"{start}-0001-{'ab' * 8}-000000.tfrecord"]
        files.setdefault(names[0], b"")
        return str(damage.one(names))

    def _bytes(self, damage: Damage, files: Files) -> None:
        name = self._pick(damage, files)
        files[name] = damage.harm(files[name], damage.one(list(damage.one(self.base).values())))

    def _frames(self, damage: Damage, files: Files) -> None:
        name = self._pick(damage, files, "steps")
        frames = mutations.split(files[name])
        more = mutations.split(files[self._pick(damage, files)])
        for _ in range(1 + damage.below(4)):
            frames.insert(damage.below(len(frames) + 1), damage.one(frames + more))
            if damage.chance(0.5):
                del frames[damage.below(len(frames))]
        if damage.chance(0.5):
            damage.rng.shuffle(frames)
        files[name] = b"".join(mutations.records.frame([frame]) for frame in frames)

    def _length(self, damage: Damage, files: Files) -> None:
        name = self._pick(damage, files)
        length = damage.one([0, 1, 52, 10**6, 2**31, 2**32, 2**40, 2**63, 2**64 - 1])
        frame = mutations.claim(length, damage.rng.bytes(damage.below(200)))
        frames = mutations.split(files[name])
        whole = [mutations.records.frame([payload]) for payload in frames]
        whole.insert(damage.below(len(whole) + 1), frame)
        files[name] = b"".join(whole)

    def _reseal(
        self, damage: Damage, files: Files, change: Callable[..., tuple[Any, bytes, bytes]], **options: Any
    ) -> None:
        name = self._pick(damage, files, options.pop("start", "steps"))
        frames = mutations.split(files[name])
        at = damage.below(len(frames)) if frames else 0
        whole = [mutations.records.frame([frame]) for frame in frames]
        try:
            whole[at] = mutations.sealed(*change(*mutations.opened(frames[at])), **options)
        except (StoreError, *mutations.records.MALFORMED, zlib.error):
            return  # harmed too much before
        files[name] = b"".join(whole)

    def _fields(self, damage: Damage, files: Files) -> None:
        def change(fields: Any, header: Any, chunks: bytes) -> Any:
            kind = damage.one([fields[0], 0, 1, 2, 3, 9, 65535])
            numbers = [damage.one([0, 1, -1, 5, 2**62, 2**63 - 1, -(2**63)]) for _ in range(3)]
            time = damage.one([0.0, float("nan"), float("inf"), -1e308, 1e308])
            return (kind, *numbers, time), mutations.written(header), chunks

        options = {} if damage.chance(0.7) else {"magic": damage.one([b"LRPM", b"XXXX"]), "version": damage.below(9)}
        self._reseal(damage, files, change, **options)

    def _header(self, damage: Damage, files: Files) -> None:
        self._reseal(damage, files, lambda fields, header, chunks: (fields, damage.json(header), chunks))

    def _header_text(self, damage: Damage, files: Files) -> None:
        self._reseal(
            damage, files, lambda f, h, chunks: (f, damage.text(mutations.written(h)), chunks),
            start=damage.one(["steps", "probes"]),
        )  # fmt: skip

    def _probes(self, damage: Damage, files: Files) -> None:
        self._reseal(damage, files, lambda f, header, chunks: (f, damage.json(header), chunks), start="probes")

    def _table(self, damage: Damage, files: Files) -> None:
        def change(fields: Any, header: Any, chunks: bytes) -> Any:
            if header.get("histograms"):
                offset, length, _ = header["histograms"]
                table = json.loads(zlib.decompress(chunks[offset : offset + length]))
                text = damage.json(table) if damage.chance(0.8) else damage.text(mutations.written(table))
                if damage.chance(0.03):
                    row = table["histograms"][0]
                    many = {"histograms": [{**row, "name": str(i)} for i in range(damage.one([10_000, 70_000]))]}
                    text = damage.one([b'{"histograms":[' + b"[],{}," * (10 << 20) + b"1]}", mutations.written(many)])
                packed = zlib.compress(text)
                header["histograms"] = [len(chunks), len(packed), len(text)]
                chunks += packed
            return fields, mutations.written(header), chunks

        self._reseal(damage, files, change)

    def _bomb(self, damage: Damage, files: Files) -> None:
        """Chunks that inflate to much more than they are, honest about it or not, used many times over."""
        probes = damage.chance(0.4)

        def change(fields: Any, header: Any, chunks: bytes) -> Any:
            size = damage.one([1 << 20, 32 << 20, 128 << 20, (128 << 20) + 90] if damage.chance(0.1) else [1 << 20])
            bomb = mutations.bomb(size)
            place = [len(chunks), len(bomb)]
            if probes:
                n = len(header["names"])
                claimed = damage.one([[n, size // (3 * n), 1, 3], [n, 2**20, 2**20, 3], [n, 0, 0, 1]])
                header |= damage.one(
                    [
                        {"image_shape": claimed, "images": place},
                        {"map_shape": damage.one([[size // n], [10**9] * 3, [0], [], [1] * 70]), "masks": {}},
                        {"map_shape": [size // n], "masks": {str(i): place for i in range(300)}},
                        {"masks": {str(i): place for i in range(300)}},
                    ]
                )
            else:
                header |= damage.one(
                    [
                        {"maps": [place] * 3},
                        {"maps": [place] * 3, "channels": {"maps": [[place] * 500] * 3, "scale": [[1.0] * 500] * 3}},
                        {"histograms": [*place, size]},
                        {"histograms": [*place, 64 << 20]},
                    ]
                )
            return fields, mutations.written(header), chunks + bomb

        self._reseal(damage, files, change, start="probes" if probes else "steps")
        if probes and damage.chance(0.5):
            self._huge_maps(damage, files)

    def _huge_maps(self, damage: Damage, files: Files) -> None:
        """Records whose maps are honest bombs of the map shape that the probes now claim."""
        try:
            _, header, _ = mutations.opened(mutations.split(files[PROBES])[0])
            shape = header["map_shape"]
            size = int(np.prod(shape, dtype=object))
        except (StoreError, *mutations.records.MALFORMED):
            return
        if size > 200 << 20:
            return
        chunk = mutations.bomb(size)

        def change(fields: Any, step: Any, chunks: bytes) -> Any:
            places = [[i * len(chunk), len(chunk)] for i in range(3)]
            step |= {"map_shape": shape, "maps": places, "scale": [1.0] * 3, "encoding": "sqrt8", "histograms": None}
            step["channels"] = None
            return fields, mutations.written(step), chunk * 3

        for _ in range(3):
            self._reseal(damage, files, change)

    def _sidecar(self, damage: Damage, files: Files) -> None:
        name = self._pick(damage, files, damage.one(["clusters", "note"]))
        if not name:
            return
        try:
            content = json.loads(files[name])
        except (ValueError, RecursionError):
            return
        files[name] = damage.json(content) if damage.chance(0.7) else damage.text(files[name])
        if damage.chance(0.2):
            files[f"note-{10**18 + damage.below(9)}-{'ab' * 4}.json"] = files[name]
            files[f"clusters-{damage.one([0, 2, 3, 10**17])}-{'ab' * 8}.json"] = files[name]

    def _names(self, damage: Damage, files: Files) -> None:
        name = self._pick(damage, files, "steps")
        session = damage.one(["0" * 8, "f" * 64, name.split("-")[2]])
        number, ordinal = damage.one(["000000", "9" * 12]), damage.one(["0000", "0001", "00001", "9" * 9])
        files[f"steps-{ordinal}-{session}-{number}.tfrecord"] = files[name]
        files[damage.one(["steps--.tfrecord", "steps-0001-xyz-000000.tfrecord", "\u202e.tfrecord", "a\nb"])] = b"x"

    def _crumbs(self, damage: Damage, files: Files) -> None:
        """Thousands of records of next to nothing."""
        crumb = damage.one(
            [
                mutations.records.frame([b""]),
                mutations.records.frame([b"LRPM" + bytes(60)]),
                mutations.sealed((2, 3, 0, 0, 0.0), b"{}", b""),
                mutations.sealed((3, 0, 0, 0, 0.0), b"{}", b""),
                mutations.claim(2**62),
            ]
        )
        name = self._pick(damage, files, "steps")
        files[name] += crumb * damage.one([10, 3000, 20_000 if damage.chance(0.2) else 100])

    def _objects(self, damage: Damage, files: Files) -> Callable[[], None]:
        """Something else than a file in a file's place."""
        name = self._pick(damage, files)
        data = files.pop(name)
        path, outside = self.store / name, self.outside / "lrp" / "plugins" / "lrp_monitor"
        theirs = sorted(self.outside_files)
        kind = damage.below(10)

        def later() -> None:
            path.unlink(missing_ok=True)
            if kind == 0:
                path.mkdir()
            elif kind == 1:
                os.mkfifo(path)
            elif kind == 2:
                path.symlink_to(path.name)
            elif kind == 3:
                path.symlink_to(self.store / "nowhere")
            elif kind == 4:
                path.symlink_to(damage.one(["/dev/zero", "/dev/null", "/proc/self/mem", "/etc/passwd", "/"]))
            elif kind == 5:
                same = [other for other in theirs if other.split("-")[0] == name.split("-")[0]]
                path.symlink_to(outside / damage.one(same))
            elif kind == 6:
                shutil.rmtree(self.store)
                self.store.symlink_to(damage.one([outside, self.folder, "/dev"]), target_is_directory=True)
            elif kind == 7:
                path.write_bytes(data)
                os.truncate(path, damage.one([len(data) + 2**20, 2**40]))
            elif kind == 8:
                path.write_bytes(data + mutations.claim(2**39) + b"LRPM")
                os.truncate(path, 2**40)
            else:
                path.write_bytes(b"")

        return later


def read_folder(folder: Path) -> Files:
    """Name -> content of a folder's files."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


class Seen:
    """What a case gave back: answers, and errors by kind; the canary must be in none of it."""

    def __init__(self) -> None:
        self.kinds: dict[str, int] = {}

    def attempt(self, name: str, work: Callable[[], Any], allowed: tuple[type[Exception], ...]) -> Any:
        """The value of ``work``, or None where it raised what it says it may."""
        try:
            value = work()
        except allowed as error:
            self._count(f"{name}: {type(error).__name__}")
            self.look(str(error))
            if len(str(error)) > 20_000:
                raise AssertionError(f"{name}: a message of {len(str(error))} characters") from error
            return None
        self._count(f"{name}: value")
        return value

    def look(self, text: Any) -> None:
        """Raises AssertionError where the canary is in it."""
        if CANARY.encode() in (text if isinstance(text, bytes) else str(text).encode("utf-8", "replace")):
            raise AssertionError(f"content from outside the run: {text[:200]!r}")

    def _count(self, kind: str) -> None:
        self.kinds[kind] = self.kinds.get(kind, 0) + 1


def read_everything(path: Path, seen: Seen, damage: Damage, within: Path) -> None:
    """Every method of the reader on what is at ``path``."""
    run = seen.attempt("open_run", lambda: open_run(path, within=str(within)), (StoreError,))
    if not isinstance(run, Run):
        return
    missing = (StoreError, KeyError)
    probes = run.probes
    texts: list[Any] = [probes.names, probes.class_names, list(probes.masks), run.meta, run.session, run.sessions]
    texts += [seen.attempt("scalars", lambda: run.scalars, ()), seen.attempt("statistics", lambda: run.statistics, ())]
    texts.append(seen.attempt("all_tensors", run.all_tensors, ()))
    for name in [*texts[-3][:2], "drift"]:
        seen.attempt("scalar", lambda name=name: run.scalar(name), missing)
    for name in [*texts[-2][:2], "sum"]:
        seen.attempt("statistic", lambda name=name: run.statistic(name), missing)
    steps = run.steps
    assert steps == sorted(set(steps))
    for step in [*steps[:3], *steps[-2:], 99]:
        header = seen.attempt("record", lambda step=step: run.record(step), missing)
        texts.append(header and (header.notes, list(header.scalars), list(header.statistics)))
        maps = seen.attempt("heatmaps", lambda step=step: run.heatmaps(step), missing)
        assert maps is None or (maps.dtype == np.float32 and maps.shape == (len(probes), *probes.map_shape))
        del maps
        seen.attempt("heatmap", lambda step=step: run.heatmap(0, step), missing)
        seen.attempt("channels", lambda step=step: run.channels(step), missing)
        raw = seen.attempt(
            "step_answer", lambda step=step: step_answer(run, step, channels=damage.chance(0.5)), missing
        )
        if raw is not None:
            (length,) = struct.unpack("<I", raw[:4])
            seen.look(raw[: 4 + length])
            json.loads(raw[4 : 4 + length])
        tensors = seen.attempt("tensors", lambda step=step: run.tensors(step), missing) or []
        for kind, name in [*tensors[:3], ("weight", "none")]:
            seen.attempt("histogram", lambda step=step, k=kind, n=name: run.histogram(step, k, n), missing)
    seen.attempt("film", lambda: run.film(0), missing)
    seen.attempt("film_answer", lambda: film_answer(run, 0, steps[:20], channels=True), missing)
    for by in ("step", "probe"):
        seen.attempt("table", lambda by=by: run.table(by), ())
    seen.attempt("clusters", run.clusters, (StoreError,))
    texts.append(seen.attempt("notes", run.notes, (StoreError,)))
    seen.attempt("Snapshot.of_run", lambda: Snapshot.of_run(run), (StoreError, KeyError, ValueError))
    texts.append(seen.attempt("verify", run.verify, ()))
    seen.attempt("refresh", run.refresh, (StoreError,))
    problems = run.problems
    assert sum(map(len, problems)) < 1 << 20, f"{len(problems)} problems, {sum(map(len, problems))} characters"
    for text in [*texts, problems]:
        seen.look(repr(text))
