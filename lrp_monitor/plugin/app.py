"""The LRP tab's read-only routes, below ``data/plugin/lrp_monitor/``. Knows no TensorFlow."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tensorboard import errors, plugin_util
from tensorboard.backend import http_util
from tensorboard.plugins import base_plugin
from werkzeug import wrappers

import lrp_monitor
from lrp_monitor.plugin import answers, feature_answers, parameters, wire
from lrp_monitor.plugin.runs import Folders, Readers
from lrp_monitor.store import records
from lrp_monitor.store.format import HISTOGRAM_KINDS, PLUGIN_NAME, StoreError
from lrp_monitor.store.reader import Run

_ENTRY = "index.js"
_YEAR = 365 * 24 * 3600

Handler = Callable[["LRPPlugin", wrappers.Request], wrappers.Response]


class MethodNotAllowedError(errors.PublicError):  # type: ignore[misc]  # tensorboard ships no types
    """HTTP 405: these routes only read."""

    http_code = 405

    def __init__(self, method: str) -> None:
        super().__init__(f"Method not allowed: {method}; this route answers GET and HEAD")
        self.headers.append(("Allow", "GET, HEAD"))


class LRPPlugin(base_plugin.TBPlugin):  # type: ignore[misc]  # tensorboard ships no types
    """Serves the runs, steps, heatmaps and histograms that lrp_monitor logged below the log directory."""

    plugin_name = PLUGIN_NAME

    def __init__(self, context: base_plugin.TBContext) -> None:
        self._provider = context.data_provider
        flags = context.flags
        logdir = context.logdir or getattr(flags, "logdir", None)
        self._folders = Folders(logdir, getattr(flags, "logdir_spec", None))
        self._readers = Readers(self._folders)
        self._probe_answers = wire.ProbeAnswers()

    def get_plugin_apps(self) -> dict[str, Any]:
        """Path -> WSGI application."""
        routes: dict[str, Handler] = {
            "/runs": LRPPlugin._runs,
            "/run": LRPPlugin._run,
            "/probes": LRPPlugin._probes,
            "/step": LRPPlugin._step,
            "/film": LRPPlugin._film,
            "/timeline": LRPPlugin._timeline,
            "/histogram": LRPPlugin._histogram,
            "/histograms": LRPPlugin._histograms,
            "/notes": LRPPlugin._notes,
            "/clusters": LRPPlugin._clusters,
            "/features": LRPPlugin._features,
            "/channels": LRPPlugin._channels,
            "/channel_curves": LRPPlugin._channel_curves,
            "/channel_maps": LRPPlugin._channel_maps,
            "/channel_film": LRPPlugin._channel_film,
            "/references": LRPPlugin._references,
        }
        # The table is made once, of what was installed: no request names a file.
        scripts = {_ENTRY, *(path.name for path in assets().glob("*.js"))}
        routes |= {f"/{name}": partial(LRPPlugin._static, name=name) for name in sorted(scripts)}
        return {path: self._application(handler) for path, handler in routes.items()}

    def is_active(self) -> bool:
        """Whether any run carries the tab's marker."""
        context = plugin_util.context({})
        names = self._names(context, "")
        # TensorBoard asks when its page is opened: long before anybody has found the tab.
        self._readers.warm(names)
        return bool(names)

    def frontend_metadata(self) -> base_plugin.FrontendMetadata:
        """The tab's name and the module that draws it."""
        return base_plugin.FrontendMetadata(es_module_path="/index.js", tab_name="LRP")

    def _application(self, handler: Handler) -> Any:
        @wrappers.Request.application
        def application(request: wrappers.Request) -> wrappers.Response:
            if request.method not in ("GET", "HEAD"):
                raise MethodNotAllowedError(request.method)
            try:
                return handler(self, request)
            except KeyError as error:
                raise errors.NotFoundError(_words(error.args[0])) from error
            except StoreError as error:
                raise errors.NotFoundError(_words(error)) from error

        return application

    def _names(self, context: Any, experiment: str) -> list[str]:
        if self._provider is None:
            return []
        listing = self._provider.list_tensors(context, experiment_id=experiment, plugin_name=PLUGIN_NAME)
        return list(listing)

    def _listed(self, request: wrappers.Request) -> list[str]:
        context = plugin_util.context(request.environ)
        experiment = plugin_util.experiment_id(request.environ)
        return self._readers.listed(experiment, lambda: self._names(context, experiment))

    def _reader(self, request: wrappers.Request) -> tuple[str, Run]:
        run = parameters.text(request, "run")
        return run, self.run(request, run)

    def run(self, request: wrappers.Request, name: str) -> Run:
        """A listed run, brought up to date. Raises PublicError (404), and StoreError where it cannot be read."""
        if name not in self._listed(request):
            raise errors.NotFoundError(_words(f"no run {name!r} with heatmaps is loaded in this TensorBoard (yet)"))
        return self._readers.reader(name)

    def _static(self, request: wrappers.Request, *, name: str) -> wrappers.Response:
        path = assets() / name
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise errors.NotFoundError(
                f"the page's bundle {path} is not there: an installed lrp_monitor carries it; in a checkout, "
                "run `npm ci && npm run build` in plugin_assets"
            ) from error
        return _respond(request, content, "text/javascript")

    def _runs(self, request: wrappers.Request) -> wrappers.Response:
        wanted = parameters.names(request, "values")
        listed = []
        for name in self._listed(request):
            display = self._folders.display_name(name)
            try:
                listed.append(answers.listing(name, display, self._readers.reader(name), wanted))
            except StoreError as error:
                listed.append(answers.listing(name, display, None, wanted) | {"error": str(error)})
        return _json(request, {"runs": listed, "version": lrp_monitor.__version__})

    def _run(self, request: wrappers.Request) -> wrappers.Response:
        name, run = self._reader(request)
        if parameters.flag(request, "brief"):
            return _json(request, answers.brief_run(name, run))
        headers, reset = parameters.since(request, run)
        answer = answers.run(name, run, headers, run.probes)
        # Over all steps, whichever are sent anew.
        answer["largest"] = answers.largest(run.records())
        if reset:
            answer["reset"] = True
        return _json(request, answer)

    def _timeline(self, request: wrappers.Request) -> wrappers.Response:
        _, run = self._reader(request)
        headers, reset = parameters.since(request, run)
        columns = parameters.column_names(request, answers.columns(headers))
        probe = parameters.position(request, "probe", len(run.probes))
        answer = answers.timeline(
            run,
            headers,
            columns,
            None if probe is None else [probe],
            of_tensors=parameters.names(request, "of_tensors"),
            medians=parameters.names(request, "medians"),
        )
        if reset:
            answer["reset"] = True
        return _json(request, answer)

    def _probes(self, request: wrappers.Request) -> wrappers.Response:
        name, run = self._reader(request)
        digest = parameters.hexadecimal(request, "hash")
        probes = run.probes
        if digest != probes.hash:
            raise errors.NotFoundError(f"run {name!r} has no probes of hash {digest}; it has {probes.hash}")
        chosen = parameters.positions(request, "probes", len(probes))
        all_of_them = chosen is None or len(chosen) == len(probes)
        return _binary(request, self._probe_answers.of(probes) if all_of_them else wire.probes_answer(probes, chosen))

    def _step(self, request: wrappers.Request) -> wrappers.Response:
        step, session = parameters.whole(request, "step"), parameters.hexadecimal(request, "session")
        _, run = self._reader(request)
        channels = parameters.flag(request, "channels")
        probes = parameters.positions(request, "probes", len(run.probes))
        if channels and probes is not None:
            raise errors.InvalidArgumentError("maps by channel are given of all probes: ask for probes or for channels")
        return _binary(request, wire.step_answer(run, step, session, probes=probes, channels=channels))

    def _film(self, request: wrappers.Request) -> wrappers.Response:
        run, probe, steps = self._of_film(request)
        channels = parameters.flag(request, "channels")
        return _binary(request, wire.film_answer(run, probe, steps, channels=channels))

    def _of_film(self, request: wrappers.Request) -> tuple[Run, int, list[int]]:
        """The run, the probe and the steps of a film."""
        name, run = self._reader(request)
        session, steps = parameters.hexadecimal(request, "session"), parameters.wholes(request, "steps")
        probe = parameters.position(request, "probe", len(run.probes))
        if probe is None:
            raise errors.InvalidArgumentError("the parameter 'probe' is missing")
        # The answer is kept for ever under its address, and a later session may replace these steps.
        if session != run.session:
            raise errors.NotFoundError(f"session {session} is not the latest one of run {name!r}: reload the run")
        return run, probe, steps

    def _histogram(self, request: wrappers.Request) -> wrappers.Response:
        step, session = parameters.whole(request, "step"), parameters.hexadecimal(request, "session")
        kind, name = _kind(request), parameters.text(request, "name")
        _, run = self._reader(request)
        found = run.histogram(step, kind, name, session)
        return _json(request, answers.histogram(found), immutable=True)

    def _histograms(self, request: wrappers.Request) -> wrappers.Response:
        step, session = parameters.whole(request, "step"), parameters.hexadecimal(request, "session")
        kind = _kind(request)
        _, run = self._reader(request)
        return _json(request, answers.histograms(run.histograms(step, kind, session)), immutable=True)

    def _notes(self, request: wrappers.Request) -> wrappers.Response:
        name, run = self._reader(request)
        return _json(request, answers.notes(name, run))

    def _clusters(self, request: wrappers.Request) -> wrappers.Response:
        name, run = self._reader(request)
        return _json(request, answers.clusters(name, run))

    def _features(self, request: wrappers.Request) -> wrappers.Response:
        name, run = self._reader(request)
        return _json(request, feature_answers.layers(name, run))

    def _channels(self, request: wrappers.Request) -> wrappers.Response:
        step, session = parameters.whole(request, "step"), parameters.hexadecimal(request, "session")
        _, run = self._reader(request)
        return _binary(request, feature_answers.at_step(run, *self._of_layer(request), step, session))

    def _channel_curves(self, request: wrappers.Request) -> wrappers.Response:
        _, run = self._reader(request)
        channels = parameters.wholes(request, "channels")
        return _json(request, feature_answers.curves(run, *self._of_layer(request), channels))

    def _channel_maps(self, request: wrappers.Request) -> wrappers.Response:
        step, session = parameters.whole(request, "step"), parameters.hexadecimal(request, "session")
        channels, most = parameters.wholes(request, "channels"), parameters.whole(request, "most")
        _, run = self._reader(request)
        answer = feature_answers.maps(run, *self._of_layer(request), channels, most, step, session)
        return _binary(request, answer)

    def _channel_film(self, request: wrappers.Request) -> wrappers.Response:
        run, probe, steps = self._of_film(request)
        layer, channel = parameters.text(request, "layer"), parameters.whole(request, "channel")
        return _binary(request, feature_answers.film(run, layer, channel, probe, steps))

    def _references(self, request: wrappers.Request) -> wrappers.Response:
        session, numbers = parameters.hexadecimal(request, "session"), parameters.wholes(request, "numbers")
        _, run = self._reader(request)
        answer = feature_answers.references(run, session, numbers)
        return _respond(request, answer, "application/octet-stream")  # a later step may bring what is not kept yet

    def _of_layer(self, request: wrappers.Request) -> tuple[str, int]:
        """The layer and the class that a request is about; class -1 is written as "none"."""
        asked = parameters.text(request, "class")
        return parameters.text(request, "layer"), -1 if asked == "none" else parameters.whole(request, "class")


def _kind(request: wrappers.Request) -> str:
    kind = parameters.text(request, "kind")
    if kind not in HISTOGRAM_KINDS:
        raise errors.InvalidArgumentError(f"kind must be one of {', '.join(HISTOGRAM_KINDS)}")
    return kind


def _words(message: object) -> str:
    """A message as an answer: names in it may hold halves of surrogate pairs, which are in no encoding."""
    return str(message).encode("utf-8", "backslashreplace").decode("utf-8")


def assets() -> Path:
    """The folder of the page's bundle: the installed package's, or the source folder of a checkout."""
    spec = importlib.util.find_spec("lrp_monitor.plugin_assets")
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).parent / "dist"
    return Path(lrp_monitor.__file__).parents[1] / "plugin_assets" / "dist"


def _json(request: wrappers.Request, answer: dict[str, Any], *, immutable: bool = False) -> wrappers.Response:
    return _respond(request, records.to_json(answer), "application/json", immutable=immutable)


def _binary(request: wrappers.Request, content: bytes) -> wrappers.Response:
    return _respond(request, content, "application/octet-stream", immutable=True)


def _respond(request: wrappers.Request, content: bytes, kind: str, *, immutable: bool = False) -> wrappers.Response:
    # Respond adds Content-Length, X-Content-Type-Options: nosniff, and gzip for text where it is accepted.
    response: wrappers.Response = http_util.Respond(request, content, kind, expires=_YEAR if immutable else 0)
    if immutable:
        response.headers["Cache-Control"] = f"private, max-age={_YEAR}, immutable"
    return response
