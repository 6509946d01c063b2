"""LRPBaseline: what the fixture `lrp_baseline` gives a test, to compare heatmaps with the test's baseline."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import pytest

from lrp_monitor.arguments import Preset, Tier
from lrp_monitor.probes import ProbeSet
from lrp_monitor.regression.baseline import paths_of, read_baseline, write_baseline
from lrp_monitor.regression.comparable import check_probes
from lrp_monitor.regression.comparing import Masks, compare, replaceable, says_the_same
from lrp_monitor.regression.comparison import Comparison
from lrp_monitor.regression.errors import BaselineError
from lrp_monitor.regression.origin import probe_digests
from lrp_monitor.regression.pytest_plugin import MARKER, OPTION_UPDATE, PROPERTY, REPORT_PROPERTY
from lrp_monitor.regression.snapshot import Snapshot
from lrp_monitor.regression.tiers import LimitOptions

if TYPE_CHECKING:
    from lrp_monitor.engine.rules.composites import Composite

_LONGEST_NAME = 100


class LRPBaseline:
    """The baselines of one test. Made by the fixture `lrp_baseline`."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request
        self._config = request.config
        self._names: set[str | None] = set()
        self.checked = False
        """Whether `check` was called: a test that never does fails."""

    def check(
        self,
        model: Any,
        probes: ProbeSet | None = None,
        *,
        tier: Tier | None = None,
        masks: Masks = None,
        composite: Preset | Composite | None = None,
        name: str | None = None,
        features: str | Sequence[str] | None = None,
        **limits: Unpack[LimitOptions],
    ) -> Comparison | None:
        """Explain the probes and compare with the baseline; the test fails where it differs or there is none.

        Where the probe set explains what is predicted, the classes or the region of the baseline are explained.

        Under ``pytest --lrp-update`` a missing or differing baseline is written instead; one that agrees within the
        limits of tier same_weights stays untouched. Returns the comparison, None where the baseline was written.

        Args:
            model: a built Keras model, an `Explainer`, or a `Snapshot` (without probes).
            probes: the probe set to explain.
            tier: as for `lrp_monitor.compare`. A tier or composite that is not given comes from the nearest marker
                ``@pytest.mark.lrp_baseline(...)``, then from the ini options lrp_tier and lrp_composite.
            masks: as for `lrp_monitor.compare`.
            limits: as for `lrp_monitor.compare`.
            composite: as for `Explainer`.
            features: layers whose leading channels' shares of each class are compared, too; by default the baseline's.
            name: tells several checks of one test apart.
        """
        __tracebackhide__ = True
        self.checked = True
        self._check_types(model, probes, composite)
        given = {"tier": tier, "masks": masks, "composite": composite, "features": features}
        options = self._marked() | limits | {key: value for key, value in given.items() if value is not None}
        options.setdefault("tier", self._config.getini("lrp_tier"))
        chosen: Any = options.pop("composite", None) or self._config.getini("lrp_composite") or None
        layers = options.pop("features", None)
        path = self._path(name)
        try:
            if self._config.getoption("lrp_update"):
                return self._update(path, _snapshot(model, probes, chosen, None, layers), options)
            return self._check(path, model, probes, chosen, layers, options)
        except BaselineError as error:
            message = self._message(error, path)
        # Outside of the except clause: the failure is the message, without the errors that led to it.
        raise self._failure(message)

    def _check(
        self, path: Path, model: Any, probes: ProbeSet | None, composite: Any, features: Any, options: dict[str, Any]
    ) -> Comparison:
        __tracebackhide__ = True
        before = read_baseline(path)
        if probes is not None and before.digests is not None:
            # Before explaining: a changed probe is reported as such, not as what a model makes of it.
            check_probes(before.digests, probe_digests(probes), tuple(probes.names))
        found = self._compare(before, _snapshot(model, probes, composite, before, features), options)
        self._note(PROPERTY, f"compared {self._shown(path)}")
        if not found.ok:
            raise self._failure(f"{found}\n\n{self._report(found, path)}\nWhere the change is meant: {self._command()}")
        return found

    def _update(self, path: Path, now: Snapshot, options: dict[str, Any]) -> Comparison | None:
        __tracebackhide__ = True
        # What is wrong with the call itself would else be reported only when the baseline is there.
        rehearsal = self._compare(now, now, options)
        if not rehearsal.ok and np.isfinite(now.heatmaps).all():
            raise self._failure(f"no baseline is written that fails against itself:\n{rehearsal}")
        before = replaceable(path)
        if before is not None and says_the_same(before, now):
            self._note(PROPERTY, f"unchanged {self._shown(path)}")
            return compare(before, now, masks=())
        write_baseline(now, path)
        self._note(PROPERTY, f"written {self._shown(path)}")
        return None

    def _compare(self, before: Snapshot, now: Snapshot, options: dict[str, Any]) -> Comparison:
        __tracebackhide__ = True
        found = compare(before, now, **options)
        if not any(check.limited for check in found.checks if check.name != "finite"):
            raise self._failure(
                f"tier {found.tier} with {options} has no limit at all: nothing is tested. Give one, such as cosine=.95"
            )
        return found

    @staticmethod
    def _check_types(model: Any, probes: Any, composite: Any) -> None:
        if isinstance(model, Snapshot):
            if probes is not None or composite is not None:
                raise TypeError("check(snapshot) takes no probes and no composite: the snapshot was made of them")
        elif not isinstance(probes, ProbeSet):
            raise TypeError(f"probes must be a ProbeSet, got {type(probes).__name__}: check(model, probes)")
        elif _is_explainer(model) and composite is not None:
            raise TypeError("composite: an Explainer has its own; give the model itself, or leave composite out")

    def _marked(self) -> dict[str, Any]:
        """The arguments of all markers, those nearest to the test winning."""
        found: dict[str, Any] = {}
        for marker in reversed(list(self._request.node.iter_markers(MARKER))):
            if marker.args:
                raise TypeError(
                    f"@pytest.mark.{MARKER} takes keywords only, such as tier='retrained'; got {marker.args}"
                )
            found |= marker.kwargs
        return found

    # ---- names and places

    def _path(self, name: str | None) -> Path:
        if name in self._names:
            again = "twice without a name" if name is None else f"twice with name={name!r}"
            raise self._failure(
                f"lrp_baseline.check was called {again} in one test: give each call a name of its own, name=..."
            )
        self._names.add(name)
        node = self._request.node
        file = Path(node.path)
        stem = _file_name("::".join(node.nodeid.split("::")[1:]) + ("" if name is None else f"::{name}"))
        folder = self._config.getini("lrp_baseline_dir")
        if not folder:
            return file.parent / "lrp_baselines" / file.stem / stem
        root = self._config.rootpath
        inside = os.path.relpath(file.with_suffix(""), root).replace(os.pardir, "up")
        return root / folder / inside / stem

    def _shown(self, path: Path) -> str:
        return os.path.relpath(paths_of(path)[0], self._config.invocation_params.dir)

    def _command(self) -> str:
        node = self._request.node
        file = os.path.relpath(node.path, self._config.invocation_params.dir)
        return f"pytest {OPTION_UPDATE} " + shlex.quote("::".join([file, *node.nodeid.split("::")[1:]]))

    def _report(self, found: Comparison, path: Path) -> str:
        """Writes the HTML page, and says where; never raises, the comparison's own failure is what counts."""
        try:
            page = self._report_dir() / f"{Path(self._request.node.path).stem}.{path.name}.html"
            page.parent.mkdir(parents=True, exist_ok=True)
            found.write_html(page, title=self._request.node.nodeid)
        except OSError as error:
            return f"The pictures could not be written: {error}"
        shown = os.path.relpath(page, self._config.invocation_params.dir)
        shown = str(page) if shown.count(os.pardir) > 2 else shown
        self._note(REPORT_PROPERTY, shown)
        return f"Pictures: {shown}"

    def _report_dir(self) -> Path:
        option = self._config.getoption("lrp_report_dir")
        if option:
            return Path(self._config.invocation_params.dir, os.path.expanduser(option))
        ini = self._config.getini("lrp_report_dir")
        if ini:
            return Path(self._config.rootpath, ini)
        cache = getattr(self._config, "cache", None)  # none under -p no:cacheprovider
        return Path(cache.mkdir("lrp-reports")) if cache is not None else Path(tempfile.gettempdir(), "lrp-reports")

    def _note(self, name: str, value: str) -> None:
        self._request.node.user_properties.append((name, value))

    def _failure(self, message: str) -> BaseException:
        # Without a traceback, which would be longer than the message; the line of the call takes its place.
        return pytest.fail.Exception(f"{self._call_site()}{message}", pytrace=False)

    def _message(self, error: BaselineError, path: Path) -> str:
        """The error with paths as they are typed here, and with the command that makes this very baseline anew."""
        if error.kind == "missing":
            mend = f"make it with: {self._command()}"
        else:
            mend = error.mend.split(", or make the baseline anew")[0]
            if error.kind == "version":
                mend += f", or delete both files, then: {self._command()}"
            elif error.kind != "refused":
                meant = error.kind in ("probes", "composite", "classes")
                mend += f"\n{'Where the change is meant' if meant else 'Or make it anew'}: {self._command()}"
        return f"{error.problem}\nTo mend: {mend}".replace(str(path), self._shown(path).removesuffix(".npz"))

    def _call_site(self) -> str:
        frame = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename == __file__:
            frame = frame.f_back  # type: ignore[assignment]  # the outermost frame is pytest's, never reached
        file = os.path.relpath(frame.f_code.co_filename, self._config.invocation_params.dir)
        return f"{file}:{frame.f_lineno}: "


def _snapshot(model: Any, probes: ProbeSet | None, composite: Any, before: Snapshot | None, features: Any) -> Snapshot:
    if isinstance(model, Snapshot):
        return model
    assert probes is not None
    target = None if before is None else before.target_for(probes)
    if features is None and before is not None:
        features = tuple(before.features)
    if _is_explainer(model):
        return Snapshot.of(model, probes, target=target, features=features)
    usual: Any = (before.preset if before is not None else None) or "auto"
    return Snapshot.of(model, probes, usual if composite is None else composite, target=target, features=features)


def _is_explainer(model: Any) -> bool:
    return hasattr(model, "explain") and hasattr(model, "composite")


def _file_name(test: str) -> str:
    """A test's name as a file's: what is no letter, digit or `._=+-` is replaced, and a hash keeps names apart."""
    name = test.replace("::", ".").replace("[", "-", 1).removesuffix("]")
    plain = re.sub(r"[^A-Za-z0-9._=+-]", "_", name)[:_LONGEST_NAME].lstrip(".") or "_"
    if plain == name:
        return plain
    return f"{plain}-{hashlib.sha256(test.encode()).hexdigest()[:8]}"
