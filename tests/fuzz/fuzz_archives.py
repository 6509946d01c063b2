"""Damaged probe sets and baselines: npz files and their JSON, harmed, then loaded and compared."""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import fuzz_mutations as mutations
import numpy as np
from fuzz_mutations import Damage
from fuzz_store import Seen

from lrp_monitor.probes import ProbeSet
from lrp_monitor.regression import compare
from lrp_monitor.regression.snapshot import Snapshot

Members = list[tuple[str, bytes]]
_ODD_HEADERS = [
    "", "{}", "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", "'" * 3000, "(" * 3000, "-" * 3000 + "1",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }",
    "{'descr': '<f4', 'fortran_order': True, 'shape': (100000, 100000, 100000), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 4), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 99999999999999), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3.5), }",
    "{'descr': '|V0', 'fortran_order': False, 'shape': (99999999999999999,), }",
    "{'descr': '|S0', 'fortran_order': False, 'shape': (3,), }",
    "{'descr': '<U100000000', 'fortran_order': False, 'shape': (3,), }",
    "{'descr': '<M8[ns]', 'fortran_order': False, 'shape': (2, 2), }",
    "{'descr': '<c16', 'fortran_order': False, 'shape': (2, 2), }",
    "{'descr': [('a', '<f4', (1000000000,))], 'fortran_order': False, 'shape': (2,), }",
    "{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (2,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': " + "(" * 200 + ")" * 200 + ", }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1, " * 70 + "), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (4," + " " * 3000 + "), }",
    "__import__('os').system('true')",
]  # fmt: skip


def npy(header: str, data: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    """An npy file with that header, whatever it says."""
    text = header.encode("latin-1") + b"\n"
    size = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + size + text + data


def members_of(data: bytes) -> Members:
    """Name and content of each entry of a zip file."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def packed(members: Members, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip file of them; names may come twice."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            archive.writestr(info, content)
    return buffer.getvalue()


@cache
def zip_bomb(name: str, blocks: int, declared: int | None = None) -> bytes:
    """A zip file of one entry that inflates to as many MiB of zeros behind an npy header that says so."""
    total = blocks << 20
    head = npy(f"{{'descr': '<i2', 'fortran_order': False, 'shape': (4, {total // 8}, 1), }}")
    data = packed([(name + ".npy", head + bytes(total))])
    if declared is not None:  # in the local header and in the directory
        size = struct.pack("<L", total + len(head))
        data = data.replace(size, struct.pack("<L", declared))
    return data


class ArchiveFuzz:
    """What probe sets and baselines have in common: an npz file in harm's way."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def harmed(self, damage: Damage, data: bytes) -> tuple[bytes, str]:
        """The npz file with one or two things wrong, and which."""
        members, done = members_of(data), []
        for _ in range(1 + damage.below(2)):
            way: Callable[[Damage, Members], None] = damage.one(
                [
                    self._content,
                    self._head,
                    self._head,
                    self._rename,
                    self._drop,
                    self._double,
                    self._array,
                    self._array,
                ]
            )
            way(damage, members)
            done.append(way.__name__.strip("_"))
        method = damage.one([zipfile.ZIP_DEFLATED] * 4 + [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
        small = sum(len(content) for _, content in members) < 1 << 20  # else some methods take seconds to pack it
        found = packed(members, method if small else zipfile.ZIP_DEFLATED)
        if damage.chance(0.3):
            done.append("bytes")
            found = damage.harm(found, data)
        if damage.chance(0.03):
            done = ["bomb"]
            name, *declared = damage.one([("inputs",), ("maps",), ("mask_0",), ("inputs", 1 << 16), ("maps", 1 << 16)])
            found = zip_bomb(name, 96, *declared)
        if damage.chance(0.03):
            done = ["not zip"]
            found = damage.one(
                [b"", b"PK", members[0][1], npy(_ODD_HEADERS[6]), damage.rng.bytes(500), b"PK\x05\x06" + bytes(18)]
            )
        return found, "+".join(done)

    def _content(self, damage: Damage, members: Members) -> None:
        at = damage.below(len(members))
        members[at] = (members[at][0], damage.harm(members[at][1], members[0][1]))

    def _head(self, damage: Damage, members: Members) -> None:
        at = damage.below(len(members))
        name, content = members[at]
        data = content[128:] if damage.chance(0.7) else b""
        members[at] = (name, npy(damage.one(_ODD_HEADERS), data, damage.one([(1, 0), (1, 0), (2, 0), (3, 0), (9, 9)])))

    def _rename(self, damage: Damage, members: Members) -> None:
        at = damage.below(len(members))
        names = [
            "../../evil.npy",
            "/etc/evil.npy",
            "maps",
            "x.npy",
            "mask_9.npy",
            "\u202e.npy",
            "a/" * 100 + ".npy",
            ".npy",
            "display.npy",
        ]
        members[at] = (damage.one(names), members[at][1])

    def _drop(self, damage: Damage, members: Members) -> None:
        if len(members) > 1:
            del members[damage.below(len(members))]

    def _double(self, damage: Damage, members: Members) -> None:
        more = [damage.one(members) for _ in range(damage.one([1, 1, 300]))]
        members.extend(more)

    def _array(self, damage: Damage, members: Members) -> None:
        """A well-formed array of another kind."""
        shape = damage.one(
            [(), (0,), (1,), (4,), (3,), (4, 1), (4, 6, 5), (4, 6, 5, 3), (0, 6), (4, 0, 2), (1,) * 12, (4, 300_000)]
        )
        dtype = damage.one(["<f4", ">f8", "<i8", "u1", "?", "<c8", "S3", "U2", "<f2", "<u8", "<i2", ">i2"])
        array = np.asarray(damage.rng.integers(-2, 3, shape) if damage.chance(0.8) else np.full(shape, np.nan))
        buffer = io.BytesIO()
        with np.errstate(all="ignore"):
            value = array.astype(dtype, order=damage.one("CF"))
        np.save(buffer, value)
        at = damage.below(len(members))
        members[at] = (members[at][0], buffer.getvalue())

    def place(self, damage: Damage, path: Path, data: bytes) -> str:
        """Puts the bytes there, or once in a while something that is no file."""
        if os.path.islink(path) or path.exists():
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        kind = damage.below(200)
        if kind == 0:
            path.mkdir()
        elif kind == 1:
            os.mkfifo(path)
        elif kind == 2:
            path.symlink_to(damage.one([path.name, "/dev/zero", "/nowhere", "/proc/self/mem"]))
        elif kind == 3:
            path.write_bytes(data)
            os.truncate(path, 2**40)
        else:
            path.write_bytes(data)
            return ""
        return ", no file"


class ProbeFuzz(ArchiveFuzz):
    """Files of ProbeSet.save."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        rng = np.random.default_rng(1)
        x, labels = rng.random((4, 6, 5, 3)).astype(np.float32), np.arange(4)
        sets = [
            ProbeSet(x, labels, masks={"stamp": (1, 1, 3, 3), "b": np.ones((6, 5))}, class_names=list("abcd")),
            ProbeSet(np.asfortranarray(x[..., 0]), target=[1, 2, 3, 0], display=rng.random((4, 6, 5))),
            ProbeSet({"x": x, "ids": np.ones((4, 3), int)}, rng.random(4), tokens={"ids": [list("abc")] * 4}),
        ]
        self._path = folder / "probes.npz"
        self._base = []
        for probes in sets:
            probes.save(self._path)
            self._base.append(self._path.read_bytes())

    def harm(self, damage: Damage) -> str:
        """Damages one set; returns how."""
        data = damage.one(self._base)
        if damage.chance(0.35):
            members = members_of(data)
            at = next(i for i, (name, _) in enumerate(members) if name == "about.npy")
            about = json.loads(np.load(io.BytesIO(members[at][1])).tobytes())
            text = damage.json(about) if damage.chance(0.8) else damage.text(json.dumps(about).encode())
            buffer = io.BytesIO()
            np.save(buffer, np.frombuffer(text, np.uint8))
            members[at] = ("about.npy", buffer.getvalue())
            found, done = packed(members), "about"
        else:
            found, done = self.harmed(damage, data)
        return done + self.place(damage, self._path, found)

    def read(self, damage: Damage, seen: Seen) -> None:
        """Loads and uses it."""
        loaded = seen.attempt("ProbeSet.load", lambda: ProbeSet.load(self._path), (ValueError, FileNotFoundError))
        if isinstance(loaded, ProbeSet):
            assert len(loaded.hash) == 64
            assert loaded.images.dtype == np.uint8
            assert loaded.heatmaps(loaded.inputs).shape == (len(loaded), *loaded.map_shape)
            assert loaded.statistics
            assert repr(loaded)


class BaselineFuzz(ArchiveFuzz):
    """Files of Snapshot.save."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        rng = np.random.default_rng(2)
        self._good = Snapshot(
            heatmaps=rng.standard_normal((4, 6, 5)).astype(np.float32),
            logit=rng.standard_normal(4).astype(np.float32),
            logits=rng.standard_normal((4, 3)).astype(np.float32),
            targets=np.arange(4) % 3,
            predictions=np.arange(4) % 3,
            names=tuple("wxyz"),
            images=rng.integers(0, 255, (4, 6, 5, 3), dtype=np.uint8),
            labels=np.arange(4) % 3,
            masks={"stamp": rng.random((4, 6, 5)) < 0.5},
            digests=tuple(f"{i:016x}" for i in range(4)),
            meta={
                "composite": "epsilon_plus",
                "composite_rules": ["a", "b"],
                "probes_hash": "ab" * 32,
                "class_names": list("abc"),
            },
        )
        self._path, self._about = folder / "base.npz", folder / "base.json"
        self._good.save(self._path)
        self._npz, self._json = self._path.read_bytes(), json.loads(self._about.read_text())

    def harm(self, damage: Damage) -> str:
        """Damages one baseline; returns how."""
        data, about, done = self._npz, json.loads(json.dumps(self._json)), ""
        if damage.chance(0.65):
            data, done = self.harmed(damage, data)
        if damage.chance(0.9):  # else found out by its checksum at once
            about["npz"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        text = mutations.written(about)
        if not done or damage.chance(0.3):
            text = damage.json(about) if damage.chance(0.8) else damage.text(text)
            done += "+about"
        done += self.place(damage, self._path, data)
        return done + self.place(damage, self._about, text)

    def read(self, damage: Damage, seen: Seen) -> None:
        """Loads and compares it."""
        loaded = seen.attempt("Snapshot.load", lambda: Snapshot.load(self._path), (ValueError,))
        if isinstance(loaded, Snapshot):
            found: Any = seen.attempt("compare", lambda: compare(loaded, self._good), (ValueError,))
            if found is not None:
                assert str(found)
            repr(loaded)
