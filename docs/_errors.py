"""Every error of the package with its message, read from the source: for the page that lists them.

A message's parts that are known only when it is raised stand as ``‹name›``.
"""

from __future__ import annotations

import ast
import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "lrp_monitor"

# Part of the page -> the modules and folders of the package that it is about, in the page's order.
PARTS = {
    "Arguments": ("arguments",),
    "Probe sets": ("probes",),
    "The callback": ("training",),
    "Explaining a model": ("engine", "passes", "encodings"),
    "Runs": ("store", "notebook"),
    "Baselines and comparisons": ("regression", "metrics"),
    "Sanity checks": ("sanity",),
    "Command line": ("cli", "demo"),
    "Pictures and groups": ("pictures", "spectral"),
    "Files with arrays": ("archives", "mapped"),
    "The dashboard's routes": ("plugin",),
}
# Functions that make an error of a text: their name -> the class that arrives at the user.
_MAKERS = {
    "_error": "BaselineError",
    "argument_error": "TypeError or ValueError",
    "_os_error": "StoreOSError",
    "_failure": "test failure",
    "refuse": "UnsupportedModelError",
    "_problem": "RuntimeWarning",
    "_warn": "RuntimeWarning",
    "warn": "RuntimeWarning",
}
_TEXTS = ("str", "str | None")
_NOT_FOR_USERS = {"AttributeError", "StopIteration", "NotImplementedError", "AssertionError"}


@dataclass(frozen=True)
class Raised:
    """One error: the class that the user catches, and its message."""

    kind: str
    message: str


def found_in(path: Path) -> list[Raised]:
    """The errors of a module, in the order of its text."""
    tree = ast.parse(path.read_text("utf-8"))
    found = []
    for node in ast.walk(tree):
        call = node.exc if isinstance(node, ast.Raise) else node if isinstance(node, ast.Call) else None
        if not isinstance(call, ast.Call):
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if name not in _MAKERS and not (isinstance(node, ast.Raise) and name.endswith("Error")):
            continue
        message = _message(call)
        if _says_something(message) and name not in _NOT_FOR_USERS:
            found.append((node.lineno, Raised(_MAKERS.get(name, name), message)))
    if "engine" in path.parts and path.stem != "table":  # which prints treatments
        found += [(line, Raised("UnsupportedModelError", text)) for line, text in _reasons(tree)]
    return [raised for _, raised in sorted(dict.fromkeys(found), key=lambda one: one[0])]


def parts() -> Iterator[tuple[str, list[Raised]]]:
    """The parts of the page with their errors; what no part names comes last."""
    left = {path.stem if path.is_file() else path.name for path in PACKAGE.iterdir()} - {"__init__", "__pycache__"}
    named = {**PARTS, "Elsewhere": tuple(sorted(left - {room for rooms in PARTS.values() for room in rooms}))}
    for title, rooms in named.items():
        files = [file for room in rooms for file in _files(room)]
        errors = list(dict.fromkeys(raised for file in files for raised in found_in(file)))
        if errors:
            yield title, errors


def page() -> str:
    """The list as Markdown."""
    return "\n\n".join(
        f"## {title}\n\n" + "\n".join(f"- **{one.kind}**: {_shown(one.message)}" for one in errors)
        for title, errors in parts()
    )


def _files(room: str) -> list[Path]:
    module = PACKAGE / f"{room}.py"
    return [module] if module.is_file() else sorted((PACKAGE / room).rglob("*.py"))


def _says_something(message: str) -> bool:
    """Whether a message has words of its own, and is not put together of others alone."""
    return len(re.findall(r"[A-Za-z]{2,}", re.sub("‹.*?›", "", message))) > 1


def _reasons(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of each reason why the engine refuses a layer or an operation: what becomes a ``problem``."""
    for node in ast.walk(tree):
        given: list[ast.AST] = []
        if isinstance(node, ast.FunctionDef) and _gives_a_reason(node):
            given = [part.value for part in ast.walk(node) if isinstance(part, ast.Return) and part.value is not None]
            given = [value for value in given if isinstance(value, ast.Constant | ast.JoinedStr)]
        elif isinstance(node, ast.Assign) and re.fullmatch(r"(\w+\.)?problem", ast.unparse(node.targets[0])):
            given = [node.value]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("problems.append"):
            given = list(node.args)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node in tree.body:
            given = [node.value] if node.value is not None and "REFUSED" in ast.unparse(node).partition("=")[0] else []
        for value in given:
            yield from ((part.lineno, text) for part in _outermost(value) if _is_sentence(text := _text(part)))


def _gives_a_reason(function: ast.FunctionDef) -> bool:
    returns = "" if function.returns is None else ast.unparse(function.returns)
    return returns in _TEXTS and "self" not in [argument.arg for argument in function.args.args]


def _outermost(node: ast.AST) -> Iterator[ast.expr]:
    """The texts in an expression, an f-string as a whole."""
    if isinstance(node, ast.JoinedStr | ast.Constant):
        yield node
        return
    for child in ast.iter_child_nodes(node):
        yield from _outermost(child)


def _is_sentence(text: str) -> bool:
    return _says_something(text) and " " in text.strip()


def _message(call: ast.Call) -> str:
    """The first argument that is a text of several words: before it come a kind or a file, behind it a way out."""
    return next((text for argument in call.args if " " in (text := _text(argument)).strip()), "")


def _text(node: ast.expr | None) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    if not isinstance(node, ast.JoinedStr):
        return ""
    parts = []
    for part in node.values:
        if isinstance(part, ast.FormattedValue):
            parts.append(f"‹{_placeholder(part.value)}›")
        else:
            parts.append(_text(part))
    return "".join(parts) if any(isinstance(part, ast.Constant) for part in node.values) else ""


def _placeholder(node: ast.expr) -> str:
    """The name of what stands in a message: that of a variable or attribute, of a call that of its argument."""
    if isinstance(node, ast.Name):
        return node.id.strip("_").lower()
    if isinstance(node, ast.Attribute):
        named = node.attr in ("name", "path") and getattr(node.value, "id", "self") != "self"
        return _placeholder(node.value) if named else node.attr.strip("_")
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
        return node.slice.value
    if isinstance(node, ast.Call) and node.args:
        return _placeholder(node.args[0])
    inner = next((child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)), None)
    return "..." if inner is None else _placeholder(inner)


def _shown(message: str) -> str:
    """A message as HTML in a line of Markdown, its unknown parts in italics."""
    text = re.sub(r"\s+", " ", message).strip()
    return "<code>" + re.sub("‹(.*?)›", r"<em>\1</em>", html.escape(text, quote=False)) + "</code>"
