"""The page with its data inside: one HTML file that opens from disk, without a server and without a network."""

from __future__ import annotations

import base64
import gzip
import html
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lrp_monitor.plugin import answers, feature_file, wire
from lrp_monitor.plugin.app import assets
from lrp_monitor.store import records
from lrp_monitor.store.format import ProbeInfo, StoreError
from lrp_monitor.store.reader import Run

MOST_MB = 64.0
"""Size of a file above which browsers open it slowly, if at all: refused unless asked for."""

_BASE64 = 4 / 3
# JSON of a histogram and of a step's statistics, compressed: the share that is left of them, about.
_COMPRESSED = 0.35
# The same of features: figures as JSON, and maps and shares that are compressed already.
_PACKED = 0.7
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' data:; style-src 'unsafe-inline'; img-src data: blob:; "
    "connect-src 'none'; form-action 'none'; base-uri 'none'"
)


@dataclass(frozen=True)
class Part:
    """What of a run goes into the file: a name, its steps, the places of its probes, and what else is logged of it.

    ``channels``: heatmaps by input channel.
    """

    name: str
    run: Run
    steps: Sequence[int]
    probes: Sequence[int]
    histograms: bool = True
    features: bool = True
    channels: bool = True


class TooLargeError(ValueError):
    """The file would be larger than allowed; the message says by what, and what to leave out."""


def build(parts: Sequence[Part], most_mb: float = MOST_MB) -> tuple[bytes, str]:
    """(the file's content, a text on what is in it). Raises TooLargeError before much is read, StoreError."""
    sizes = _sizes(parts)
    about = sum(sizes.values()) / 1e6
    if about > most_mb:
        raise TooLargeError(_too_large(parts, sizes, most_mb))
    header: dict[str, list[int]] = {}
    chunks: list[bytes] = []
    end = 0
    for key, body in _answers(parts):
        header[key] = [end, len(body)]
        chunks.append(body)
        end += len(body)
    data = gzip.compress(wire.envelope({"answers": header}, chunks), 6, mtime=0)
    content = _document(", ".join(part.name for part in parts), data)
    if len(content) > most_mb * 1e6:
        raise TooLargeError(_too_large(parts, sizes, most_mb))
    steps = len({step for part in parts for step in part.steps})
    histograms = "with" if any(part.histograms for part in parts) else "without"
    counts = (("run", len(parts)), ("step", steps), ("probe", max(len(part.probes) for part in parts)))
    counted = [f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts]
    words = f"{', '.join(counted)}, {histograms} histograms"
    watched = len({layer for part in parts for layer in part.run.feature_layers})
    if watched:
        kept = any(part.features for part in parts)
        words += f", {'with' if kept else 'without'} features of {watched} layer{'' if watched == 1 else 's'}"
    if any(has_channels(part.run, part.steps) for part in parts):
        words += f", {'with' if any(part.channels for part in parts) else 'without'} heatmaps by channel"
    return content, words


def _sizes(parts: Sequence[Part]) -> dict[str, float]:
    """About how many bytes of the file each kind of content takes, from what the log's headers say alone."""
    maps = channels = histograms = features = rest = 0.0
    for part in parts:
        for step in part.steps:
            header = part.run.record(step)
            maps += sum(header.places[probe][1] for probe in part.probes) if header.maps else 0
            if part.channels and header.channels:
                channels += sum(length for probe in part.probes for _, length in header.channel_places[probe])
            rest += 20 * len(header.statistics) * len(part.probes) * _COMPRESSED
        arrays = [part.run.probes.images, *(a for one in part.run.probes.inputs for a in (one.values, one.pictures))]
        rest += sum(array[0].nbytes * len(part.probes) for array in arrays if array is not None and len(array))
        if part.histograms and part.steps:
            last = part.steps[-1]
            named = part.run.tensors(last)
            some = [_json(answers.histogram(part.run.histogram(last, *key))) for key in named[:8]]
            each = sum(map(len, some)) / max(1, len(some))
            histograms += each * len(named) * len(part.steps) * _COMPRESSED
        if part.features and part.steps:
            features += feature_file.about_bytes(part.run, part.steps, part.probes) * _PACKED
    sizes = {
        "heatmaps": maps,
        "channels": channels,
        "histograms": histograms,
        "features": features,
        "figures and inputs": rest,
    }
    return {kind: _BASE64 * size for kind, size in sizes.items()}


def _too_large(parts: Sequence[Part], sizes: dict[str, float], most_mb: float) -> str:
    shares = ", ".join(f"{kind} {size / 1e6:.3g} MB" for kind, size in sizes.items() if size >= 5e3)
    most = max(len(part.steps) for part in parts)
    fitting = max(1, int(0.9 * most * most_mb * 1e6 / max(1.0, sum(sizes.values()))))
    large = [kind for kind in ("histograms", "channels", "features") if sizes[kind] > 0.1 * sum(sizes.values())]
    out = "".join(f"; --no-{kind} leaves {kind} out" for kind in large)
    return (
        f"the page would take some {sum(sizes.values()) / 1e6:.3g} MB ({shares}), the limit is {most_mb:g}: choose "
        f"fewer steps (--most-steps {fitting}, or --steps) or probes (--probe){out}; or raise it with --max-mb"
    )


def _answers(parts: Sequence[Part]) -> Iterator[tuple[str, bytes]]:
    """(route and parameters, answer) of all that the page may ask for."""
    probe_sets: dict[str, ProbeInfo] = {}
    listed = []
    for part in parts:
        run, name = part.run, part.name
        probes = run.probes.of(part.probes)
        headers = [run.record(step) for step in part.steps]
        entry = answers.listing(name, name, run, _all)
        # The file stays as it is: nothing is live, or late.
        entry |= {"steps": len(headers), "last_step": part.steps[-1] if part.steps else None, "first_logged": None}
        listed.append(entry | {"probes_hash": probes.hash})
        about = answers.run(name, run, headers, probes)
        about["tensors"] = about["tensors"] if part.histograms else []
        about["largest"] = answers.largest(headers, part.probes)
        yield _key("run", run=name), _json(about)
        yield (
            _key("timeline", run=name),
            _json(answers.timeline(run, headers, answers.columns(headers), part.probes, medians=_all)),
        )
        if part.features:
            for (route, asked), body in feature_file.answers(name, run, part.steps, part.probes):
                yield _key(route, **asked), body
        else:
            yield _key("features", run=name), _json({"run": name, "session": None, "layers": []})
        yield _key("notes", run=name), _json(answers.notes(name, run))
        yield _key("clusters", run=name), _json(answers.clusters(name, run, part.probes))
        if probes.hash not in probe_sets:
            probe_sets[probes.hash] = probes
            yield _key("probes", hash=probes.hash), wire.probes_answer(probes)
        for header in headers:
            channels = part.channels and header.channels > 0
            step = wire.part_of_step(run, header, part.probes, channels=channels)
            yield _key("step", run=name, step=header.step), step
            if channels:
                parts_of_it = wire.channels_of_step(run, header, part.probes)
                yield _key("step_channels", run=name, step=header.step), parts_of_it
            if part.histograms:
                for kind, tensor in run.tensors(header.step):
                    found = answers.histogram(run.histogram(header.step, kind, tensor))
                    yield _key("histogram", run=name, step=header.step, kind=kind, name=tensor), _json(found)
    yield _key("runs"), _json({"runs": listed})


def has_channels(run: Run, steps: Sequence[int]) -> bool:
    """Whether any of the steps holds heatmaps by input channel."""
    return any(run.record(step).channels for step in steps)


def _all(_name: str) -> bool:
    return True


def _key(route: str, **parameters: object) -> str:
    """A question as the page writes it down: see `embedded.ts`."""
    return json.dumps([route, *(str(parameters[name]) for name in sorted(parameters))], separators=(",", ":"))


def _json(value: dict[str, Any]) -> bytes:
    return records.to_json(value)


def _document(title: str, data: bytes) -> bytes:
    scripts = {path.name: path.read_text("ascii") for path in sorted(assets().glob("*.js"))}
    if "index.js" not in scripts:
        raise StoreError(f"the page's bundle is not in {assets()}: an installed lrp_monitor carries it")
    # Modules of data: addresses have no neighbours: each is imported by a name of its own.
    names = {name: f"lrp_monitor/{name}" for name in scripts}
    imports = {}
    for name, text in scripts.items():
        for other, own in names.items():
            text = text.replace(f'"./{other}"', f'"{own}"')
        imports[names[name]] = "data:text/javascript;base64," + base64.b64encode(text.encode("ascii")).decode("ascii")
    start = f'import("{names["index.js"]}").then(({{ render }}) => render());'
    licences = base64.b64encode((assets() / "LICENSES.txt").read_bytes()).decode("ascii")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{html.escape(title)}</title>
<link rel="icon" href="data:,">
<script type="importmap">{json.dumps({"imports": imports})}</script>
</head>
<body>
<script type="text/plain" id="lrp-licences">{licences}</script>
<script type="text/plain" id="lrp-data">{base64.b64encode(data).decode("ascii")}</script>
<script type="module">{start}</script>
</body>
</html>
""".encode("utf-8", "backslashreplace")
