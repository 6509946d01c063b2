"""Damage of every kind: to bytes, to JSON, to the store's frames. All of it from one seeded generator."""

from __future__ import annotations

import copy
import json
import re
import struct
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from lrp_monitor.store import records

DEEP = "@deep {}@"
"""Stands in a value for lists nested that deep: put into the text afterwards, as json cannot write them."""
_LONGEST = 8 << 20
_RAW = {
    "@nan@": "NaN",
    "@infinity@": "-Infinity",
    "@huge@": "1e999",
    "@digits@": "9" * 5000,
    "@surrogate@": '"\\ud800"',
}


class Damage:
    """Chooses and does damage. ``rng`` is all there is of chance."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def chance(self, share: float) -> bool:
        """True that often."""
        return bool(self.rng.random() < share)

    def below(self, n: int) -> int:
        """A whole number from 0 to n - 1; 0 where n is 0."""
        return int(self.rng.integers(max(n, 1)))

    def one(self, values: Any) -> Any:
        """One of the values."""
        return values[self.below(len(values))]

    # --- bytes

    def harm(self, data: bytes, other: bytes = b"") -> bytes:
        """The bytes with a few flipped, cut off, repeated, inserted or taken from ``other``."""
        ways: list[Callable[[bytes], bytes]] = [
            self._flip, self._flip, self._cut, self._repeat, self._zeros, self._noise, lambda d: self._splice(d, other),
        ]  # fmt: skip
        return self.one(ways)(data) if data else self.rng.bytes(self.below(64))

    def _flip(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(1 + self.below(8)):
            changed[self.below(len(changed))] ^= 1 << self.below(8)
        return bytes(changed)

    def _cut(self, data: bytes) -> bytes:
        return data[: self.below(len(data))]

    def _repeat(self, data: bytes) -> bytes:
        start = self.below(len(data))
        end = start + self.below(len(data) - start)
        return data[:end] + data[start:]

    def _zeros(self, data: bytes) -> bytes:
        start = self.below(len(data))
        length = self.below(min(256, len(data) - start))
        return data[:start] + bytes(length) + data[start + length :]

    def _noise(self, data: bytes) -> bytes:
        start = self.below(len(data))
        return data[:start] + self.rng.bytes(self.below(100)) + data[start:]

    def _splice(self, data: bytes, other: bytes) -> bytes:
        return data[: self.below(len(data))] + other[self.below(len(other)) :]

    # --- JSON

    def value(self) -> Any:
        """Something that a header should not hold."""
        return self.one(
            [
                None, True, False, -1, 0, 1, 7, 2**31, 2**63, 2**64, -(2**63), 10**15, 10**400, 1e308, -1.5, 0.5,
                "", "x", "inf", "nan", "1", "\x00", "../../x", "\u202e<script>", "x" * 100_000, [], {}, [[]], [{}],
                [1], [0, 1], [0, 10**12], [-1, 5], [[0, 1]] * 1000, [None] * 10_000, {"a": 1}, [10**9, 10**9],
                ["x" * 200_000, *[""] * 3000], [["x" * 200_000, 0], *[[0, 0]] * 3000], [1] * 70, [0] * 3,
                [10**6] * 3, *map(DEEP.format, (50, 450, 900, 970, 100_000)), *_RAW,
            ]
        )  # fmt: skip

    def json(self, header: dict[str, Any]) -> bytes:
        """The object with one to three places changed, as text."""
        try:
            tree: Any = copy.deepcopy(header)
            for _ in range(1 + self.below(3)):
                tree = self._one_place(tree)
            return written(tree)
        except RecursionError:  # harmed before
            return b"[" * 900

    def _one_place(self, tree: Any) -> Any:
        paths: list[tuple[Any, Any]] = []
        level: list[Any] = [tree] if isinstance(tree, dict | list) else []
        while level:
            following: list[Any] = []
            for node in level:
                keys = list(node) if isinstance(node, dict) else range(min(len(node), 20))
                paths.extend((node, key) for key in keys)
                following.extend(node[key] for key in keys if isinstance(node[key], dict | list))
            level = following[:200]
        if not paths:
            return self.value()
        holder, key = self.one(paths)
        act = self.below(10)
        if act == 0:
            del holder[key]
        elif act == 1:
            holder[key] = [holder[key]]
        elif act == 2:
            holder[key] = copy.deepcopy(self.one(paths)[0])
        elif act == 3 and isinstance(holder[key], list) and holder[key]:
            small = len(repr(holder[key])) < 1000
            holder[key] = holder[key] * (1 + self.below(2000 if small else 3))
        elif act == 4 and type(holder[key]) is int:
            holder[key] += self.one([-1, 1, 2**20, -(2**20), 2**40, 2**62])
        elif act == 5 and isinstance(holder, dict):
            holder[self.one(["", "x" * 5000, "a", "maps", "\ud800", "\x00"])] = holder[key]
        else:
            holder[key] = self.value()
        return tree

    def text(self, text: bytes) -> bytes:
        """JSON text harmed as text."""
        return self.one(
            [
                self.harm(text, text),
                b"[" * 100_000,
                b'{"a":' * 100_000,
                text[:-1] + b',"maps":[[0,1]],"probes":{},"notes":["\xff\xfe"]}',
                b"[]",
                b"null",
                b'"x"',
                b"{" + text + b"}",
                b"",
            ]
        )


def written(tree: Any) -> bytes:
    """JSON, with what json itself would not write in its place."""
    text = _plain(tree)
    for sign, raw in _RAW.items():
        text = text.replace(f'"{sign}"', raw)
    left = _LONGEST

    def deep(match: re.Match[str]) -> str:
        nonlocal left
        depth = int(match[1])
        left -= 2 * depth
        return "[" * depth + "]" * depth if left > 0 else ""

    return re.sub(r'"@deep (\d+)@"', deep, text)[:_LONGEST].encode("ascii")


def _plain(tree: Any) -> str:
    """What json.dumps says, its first ``_LONGEST`` characters, of values nested as deep as can be.

    A list may hold another a thousand times, and that another: each is written out once and known by its id.
    """
    parts: list[str] = []
    known: dict[int, slice] = {}  # of the parts
    length = 0
    # What is to be written, the last first: a text as it is, a value, or the end of one and where that began.
    todo: list[Any] = [(tree,)]
    while todo and length < _LONGEST:
        item = todo.pop()
        if isinstance(item, list):
            start, node = item
            known[id(node)] = slice(start, len(parts))
            continue
        value = item[0] if isinstance(item, tuple) else None
        again = known.get(id(value)) if isinstance(value, dict | list) else None
        if isinstance(item, str):
            parts.append(item)
        elif again is not None:
            parts.append("".join(parts[again]))
            known[id(value)] = slice(len(parts) - 1, len(parts))
        elif not isinstance(value, dict | list):
            parts.append(json.dumps(value))
        else:
            pairs = isinstance(value, dict)
            names = [f"{json.dumps(key)}: " for key in value] if pairs else [""] * len(value)
            todo += [[len(parts), value], "}" if pairs else "]"]
            members = list(zip(names, value.values() if isinstance(value, dict) else value, strict=True))
            for place in range(len(members) - 1, -1, -1):
                todo += [(members[place][1],), (", " if place else "") + members[place][0]]
            parts.append("{" if pairs else "[")
        length += len(parts[-1])
    return "".join(parts)


# --- frames


def split(data: bytes) -> list[bytes]:
    """The payloads of a file's frames."""
    found, at = [], 0
    while at + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        found.append(data[at + 12 : at + 12 + length])
        at += 16 + length
    return found


def opened(payload: bytes) -> tuple[tuple[Any, ...], dict[str, Any], bytes]:
    """(kind, step, epoch, batch, wall time), header and chunks of a payload."""
    head = records.parse_head(payload, len(payload), "x")
    end = records.FIELDS + head.header_length
    fields = (head.kind, head.step, head.epoch, head.batch, head.wall_time)
    return fields, json.loads(payload[records.FIELDS : end]), payload[end:]


def sealed(fields: tuple[Any, ...], text: bytes, chunks: bytes, magic: bytes = b"LRPM", version: int = 1) -> bytes:
    """A frame all of whose checksums are right, whatever the text is."""
    kind, step, epoch, batch, wall_time = fields
    plain = struct.pack("<4sHHqqqdI", magic, version, kind, step, epoch, batch, wall_time, len(text))
    return records.frame([plain, struct.pack("<I", records.crc32c(plain, text)), text, chunks])


def claim(length: int, data: bytes = b"") -> bytes:
    """The head of a frame that claims so many bytes, with the right checksum, and what is there of them."""
    head = struct.pack("<Q", length)
    return head + struct.pack("<I", records.masked(records.crc32c(head))) + data


@cache
def bomb(size: int) -> bytes:
    """A zlib stream of ``size`` zeros: about a thousandth of that."""
    squeeze = zlib.compressobj(9)
    block, parts = bytes(1 << 20), []
    for _ in range(size >> 20):
        parts.append(squeeze.compress(block))
    parts.append(squeeze.compress(bytes(size & ((1 << 20) - 1))))
    return b"".join([*parts, squeeze.flush()])
