"""Reads damaged files and asks hostile requests, thousands of them: python tests/fuzz/fuzz.py --files 10000 ...

Every case is (seed, kind, number) and nothing else: what failed is run again with --seed S --only KIND:NUMBER. Each
kind runs in a process of its own whose address space is limited; a case that raises what is not documented, takes
more CPU seconds or memory than it may, or shows content from outside the run is a finding. Time and memory are those
of reading and answering alone, not of making the damage. Exits with 1 where there are findings.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
from fuzz_archives import BaselineFuzz, ProbeFuzz
from fuzz_mutations import Damage
from fuzz_store import Seen, StoreFuzz, read_everything
from fuzz_web import Board, RequestFuzz, SocketFuzz, ask_everything, write_marker

KINDS = ("files", "requests", "sockets", "probes", "baselines", "view")
MOST_SECONDS = 10.0
"""CPU seconds that all that is read and asked in a case may take together."""
MOST_GROWTH = {"files": 1600, "requests": 64, "sockets": 64, "probes": 800, "baselines": 800, "view": 64}
"""MiB that a case may add to the resident memory: three times the largest arrays that a file may ask for here."""
ADDRESS_SPACE = 4 << 30
MOST_BLOCKED = 90
"""Seconds that a case may take by the clock, those left out in which the process was stopped."""


class Hang(Exception):
    """A case that took too long."""


def _late(signum: int, frame: Any) -> None:
    if signum == signal.SIGALRM:
        _ticks[0] += 1
        if _ticks[0] < MOST_BLOCKED:
            return
    raise Hang(f"{'blocked' if signum == signal.SIGALRM else 'busy'} for too long")


_ticks = [0]


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Raises Hang in a case that is busy or blocked for too long."""
    _ticks[0] = 0
    signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
    # Second by second: those that pass while the process is stopped become one.
    signal.setitimer(signal.ITIMER_REAL, 1, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _memory(name: str) -> int:
    """A figure of /proc/self/status, in kB; 0 where there is none."""
    try:
        found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        return 0
    return int(found[1]) if found else 0


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


Harm = Callable[[Damage], str]
Read = Callable[[Damage, Seen], Any]


def cases(kind: str, folder: Path) -> tuple[Harm, Read, Callable[[], None]]:
    """How a case of a kind is made (returned as text), what is then read or asked, and what to do at the end."""
    if kind == "files":
        fuzz = StoreFuzz(folder)
        write_marker(fuzz.logs / "run" / "lrp")
        board = Board(fuzz.logs)

        def read(damage: Damage, seen: Seen) -> None:
            read_everything(fuzz.logs / "run", seen, damage, within=fuzz.logs)
            board.open()
            ask_everything(board, seen, "run/lrp")

        return fuzz.harm, read, lambda: None
    if kind in ("sockets", "view"):
        sockets = SocketFuzz(folder, alone=kind == "view")
        return (lambda damage: ""), sockets.case, sockets.close
    if kind == "requests":
        return (lambda damage: ""), RequestFuzz(folder).case, lambda: None
    made = ProbeFuzz(folder) if kind == "probes" else BaselineFuzz(folder)
    return made.harm, made.read, lambda: None


def work(kind: str, seed: int, numbers: range, folder: Path) -> dict[str, Any]:
    """Runs cases in this process; what came of them, in JSON's terms."""
    signal.signal(signal.SIGPROF, _late)
    signal.signal(signal.SIGALRM, _late)
    faulthandler.enable()
    # TensorBoard takes its own stand-in for TensorFlow then: seconds and half a GB less for each process.
    sys.modules["tensorboard.compat.notf"] = types.ModuleType("notf")
    harm, read, close = cases(kind, folder)
    seen, findings = Seen(), []
    slowest, largest = (0.0, -1), (0, -1)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    began = time.monotonic()
    for number in numbers:
        damage = Damage(np.random.default_rng([seed, KINDS.index(kind), number]))
        done = error = ""
        before, start = _memory("VmRSS"), time.process_time()
        try:
            done = harm(damage)
            _forget_peak()
            before, start = _memory("VmRSS"), time.process_time()
            with watched(), warnings.catch_warnings():
                warnings.simplefilter("error", RuntimeWarning)
                done = read(damage, seen) or done
        except (Exception, RecursionError, MemoryError) as raised:
            where = traceback.extract_tb(raised.__traceback__)
            ours = [f for f in where if "lrp_monitor" in f.filename and "tests" not in f.filename]
            last = ours[-1] if ours else where[-1]
            text = "".join(traceback.format_exception(raised))[-6000:]
            error = f"{type(raised).__name__} in {Path(last.filename).name}:{last.lineno}: {str(raised)[:200]}"
            findings.append({"case": number, "what": error, "trace": text})
        seconds, grown = time.process_time() - start, max(0, _memory("VmHWM") - before) >> 10
        slowest, largest = max(slowest, (seconds, number)), max(largest, (grown, number))
        if grown > MOST_GROWTH[kind] and not error:
            findings.append({"case": number, "what": f"{grown} MiB more memory ({done})", "trace": ""})
    try:
        close()
    except AssertionError as raised:
        findings.append({"case": -1, "what": str(raised)[:3000], "trace": ""})
    return {
        "kind": kind, "cases": len(numbers), "outcomes": seen.kinds, "findings": findings, "slowest": slowest,
        "largest": largest, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        "seconds": time.monotonic() - began,
    }  # fmt: skip


def run(kind: str, seed: int, first: int, count: int) -> dict[str, Any]:
    """``work`` in a process of its own; its end is a finding too."""
    with tempfile.TemporaryDirectory() as scratch:
        arguments = [
            "--seed",
            str(seed),
            "--worker",
            kind,
            "--range",
            str(first),
            str(first + count),
            "--scratch",
            scratch,
        ]
        done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True)
        answer = Path(scratch) / "answer.json"
        if done.returncode or not answer.exists():
            what = f"the process ended with {done.returncode}"
            nothing = {"slowest": (0, -1), "largest": (0, -1), "peak": 0, "seconds": 0, "cases": 0, "outcomes": {}}
            return {"kind": kind, **nothing, "findings": [{"case": -1, "what": what, "trace": done.stderr[-4000:]}]}
        return dict(json.loads(answer.read_text()))


def report(found: dict[str, Any], seed: int, whole: bool) -> None:
    """Prints what came of a kind."""
    kind = found["kind"]
    print(
        f"{kind}: {found['cases']} cases in {found['seconds']:.0f} s, {len(found['findings'])} findings; slowest "
        f"{found['slowest'][0]:.2f} CPU s (case {found['slowest'][1]}), largest {found['largest'][0]} MiB (case "
        f"{found['largest'][1]}), peak of the process {found['peak']} MiB"
    )
    if whole:
        print("  " + ", ".join(f"{name} {count}" for name, count in sorted(found["outcomes"].items())))
    by_what: dict[str, list[dict[str, Any]]] = {}
    for finding in found["findings"]:
        by_what.setdefault(re.sub(r": .*", "", finding["what"]), []).append(finding)
    for what, some in sorted(by_what.items(), key=lambda item: -len(item[1])):
        print(f"  {len(some)} x {what}: --seed {seed} --only {kind}:{some[0]['case']}\n    {some[0]['what'][:300]}")
        if whole and some[0]["trace"]:
            print("    " + some[0]["trace"].replace("\n", "\n    ")[-2500:])
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    for kind in KINDS:
        parser.add_argument(f"--{kind}", type=int, default=0, metavar="N", help=f"cases of {kind}")
    parser.add_argument("--only", metavar="KIND:NUMBER", help="one case again")
    parser.add_argument("--quiet", action="store_true")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--range", nargs=2, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        found = work(given.worker, given.seed, range(*given.range), given.scratch / "site")
        (given.scratch / "answer.json").write_text(json.dumps(found))
        return 0
    if given.only:
        kind, _, number = given.only.partition(":")
        wanted = [(kind, int(number), 1)]
    else:
        wanted = [(kind, 0, getattr(given, kind)) for kind in KINDS if getattr(given, kind)]
    failed = False
    for kind, first, count in wanted:
        found = run(kind, given.seed, first, count)
        report(found, given.seed, whole=not given.quiet)
        failed = failed or bool(found["findings"])
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
