"""What mkdocs adds to the pages: images of the examples, the command line's reference, the list of errors.

Both lists are read from the code, so that they are complete and stay true. A page asks for one with a comment:
``<!-- generated: command line -->`` or ``<!-- generated: errors -->``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

sys.path.insert(0, str(Path(__file__).parent))

import _command_line
import _errors

ROOT = Path(__file__).parents[1]
_GENERATED: dict[str, Callable[[], str]] = {"command line": _command_line.page, "errors": _errors.page}
_ASKED = re.compile(r"<!-- generated: ([a-z ]+) -->")
# A tag that makes a browser fetch something when the page is opened; a link that a reader follows is none.
_FETCHES = re.compile(r"""<(?:script|img|link|iframe|source|video)\b[^>]*\b(?:src|srcset|href)=["']?(?:https?:)?//""")


def on_files(files: Any, config: Any) -> Any:
    """Adds the examples' pictures as images/NAME.png."""
    for picture in sorted((ROOT / "examples" / "images").glob("*.png")):
        files.append(File.generated(config, f"images/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Puts generated parts in their places."""
    return _ASKED.sub(lambda match: _GENERATED[match[1]](), markdown)


def on_post_build(config: Any, **_: Any) -> None:
    """Writes the search index as a script besides, without which buttons fail in pages opened from the file system."""
    folder = Path(config.site_dir, "search")
    index = (folder / "search_index.json").read_text("utf-8")
    (folder / "search_index.js").write_text(f"var __index = {index}", "utf-8")


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Refuses a page that would fetch anything from another server."""
    if found := _FETCHES.search(output):
        raise PluginError(f"{page.file.src_uri}: the page fetches from another server: {found[0]}")
    return output
