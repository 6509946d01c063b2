"""The command line's reference as Markdown, made of the commands' own parsers."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Iterator

from lrp_monitor.cli.main import parser as all_commands


def commands(parser: argparse.ArgumentParser | None = None) -> Iterator[argparse.ArgumentParser]:
    """Every command's parser, those of commands inside commands behind their own."""
    for action in (parser or all_commands())._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield command
                yield from commands(command)


def examples(parser: argparse.ArgumentParser) -> list[str]:
    """The lines of a command's examples."""
    head = (parser.epilog or "").partition("\n\n")[0]
    return [line.strip() for line in head.splitlines()[1:]] if head.startswith("example") else []


def page() -> str:
    """A section for each command: what it does, its arguments in a table, examples, exit codes."""
    return "\n\n".join(_section(parser) for parser in commands())


def _section(parser: argparse.ArgumentParser) -> str:
    usage = textwrap.fill(
        " ".join(parser.format_usage().removeprefix("usage: ").split()),
        80,
        subsequent_indent="    ",
        break_on_hyphens=False,
    )
    codes = (parser.epilog or "").rpartition("\n\n")[2].replace("\n", " ")
    parts = [
        f"## {parser.prog}",
        _description(parser),
        f"```text\n{usage}\n```",
        _table(parser),
        "```sh\n" + "\n".join(examples(parser)) + "\n```" if examples(parser) else "",
        codes,
    ]
    return "\n\n".join(part for part in parts if part)


def _description(parser: argparse.ArgumentParser) -> str:
    """The text, with options as code."""
    text = "\n".join(line.strip() for line in (parser.description or "").splitlines())
    return _options_as_code(text)


def _table(parser: argparse.ArgumentParser) -> str:
    rows = ["| argument | meaning |", "|---|---|"]
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction | argparse._SubParsersAction):
            continue
        rows.append(f"| {_names(action)} | {_cell(_help(parser, action))} |")
    return "\n".join(rows) if len(rows) > 2 else ""


def _names(action: argparse.Action) -> str:
    value = ""
    if action.nargs != 0:
        named = action.metavar or (action.dest.upper() if action.option_strings else action.dest)
        value = "{" + ",".join(map(str, action.choices)) + "}" if action.choices and not action.metavar else str(named)
    if not action.option_strings:
        return f"`{value} ...`" if action.nargs in ("*", "+", "...") else f"`{value}`"
    return ", ".join(f"`{' '.join(filter(None, (option, value)))}`" for option in action.option_strings)


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    return parser._get_formatter()._expand_help(action) if action.help else ""


def _options_as_code(text: str) -> str:
    """Options such as --json as code that no line breaks behind a hyphen."""
    return re.sub(r"(?<![\w`-])--[a-z][a-z-]*", r"`\g<0>`{ .nowrap }", text)


def _cell(text: str) -> str:
    return _options_as_code(text).replace("|", "\\|").replace("<", "&lt;")
