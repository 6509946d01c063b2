"""The histograms of a run's steps: which there are, one of them, or all of a kind in one read."""

from __future__ import annotations

from dataclasses import replace

from lrp_monitor.arguments import one_of
from lrp_monitor.store import codec, records
from lrp_monitor.store.access import RecordAccess
from lrp_monitor.store.format import HISTOGRAM_KINDS, Histogram
from lrp_monitor.store.index import Entry
from lrp_monitor.store.steps import HistogramRow, chunks_start


class HistogramAccess(RecordAccess):
    """The histograms of a run; see :class:`~lrp_monitor.store.reader.Run`."""

    def tensors(self, step: int) -> list[tuple[str, str]]:
        """(kind, name) of each histogram of a step, as logged."""
        return list(self._table(self._entry(self._view, step)))

    def histogram(self, step: int, kind: str, name: str, session: str | None = None) -> Histogram:
        """One histogram; ``session``: only as written by that one."""
        entry = self._entry(self._view, step, session)
        table = self._table(entry)
        row = table.get((kind, name))
        if row is None:
            names = records.listed(other for k, other in table if k == kind)
            raise KeyError(f"no {kind} histogram of {name!r} at step {step}; there are: {names}")
        return self._counted(entry, row, self._storage.read(entry.file, *_place(entry, row)))

    def histograms(self, step: int, kind: str, session: str | None = None) -> dict[str, Histogram]:
        """Name -> histogram of all tensors of a kind, in the order of the log, read in one go.

        Raises:
            ValueError: for a kind that is neither ``"weight"`` nor ``"gradient"``.
        """
        one_of("kind", kind, HISTOGRAM_KINDS)
        entry = self._entry(self._view, step, session)
        rows = [row for (one, _), row in self._table(entry).items() if one == kind]
        chunks = self._storage.read_many(entry.file, [_place(entry, row) for row in rows])
        return {row.histogram.name: self._counted(entry, row, chunk) for row, chunk in zip(rows, chunks, strict=True)}

    def _counted(self, entry: Entry, row: HistogramRow, chunk: bytes) -> Histogram:
        what = f"{entry.what}, histogram {row.histogram.name:.200}"
        buckets, counts = self._noting(lambda: codec.decode_counts(chunk, row.buckets, row.width, what))
        return replace(row.histogram, buckets=buckets, counts=counts)


def _place(entry: Entry, row: HistogramRow) -> tuple[int, int]:
    offset, length = row.place
    return chunks_start(entry) + offset, length
