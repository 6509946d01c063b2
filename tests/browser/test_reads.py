"""Rules for the tests of this folder: nothing of the page is read once, directly after what leads to it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

READS = {
    "all_inner_texts", "all_text_contents", "bounding_box", "eval_on_selector", "eval_on_selector_all",
    "evaluate", "get_attribute", "hash_parameters", "inner_html", "inner_text", "input_value", "is_checked",
    "is_disabled", "is_enabled", "is_hidden", "is_visible", "painted", "pixels", "query_selector",
    "query_selector_all", "readout", "text_content", "title",
}  # fmt: skip
OF_TABS = {"all", "count", "link", "text"}
"""Names of reads that mean something else on other things than a tab, its frame and its locators."""
TABS = {"tab", "same", "dark"}


def direct_reads(source: str) -> list[int]:
    """Lines of test functions that read the page outside of a lambda or a function, and do not say why they may.

    ``tab.expect(lambda: ..., wanted)`` reads until it is as wanted. What was waited for already, so that one reading
    is enough, is marked where it is read: ``# settled: why``.
    """
    lines = source.splitlines()

    def visit(node: ast.AST) -> Iterator[int]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Lambda | ast.FunctionDef):
                continue
            if isinstance(child, ast.Call) and _reads(child.func):
                marked = any("# settled" in line for line in lines[child.lineno - 1 : child.end_lineno])
                if not marked:
                    yield child.lineno
            yield from visit(child)

    tests = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name[:5] == "test_"]
    return [line for test in tests for line in visit(test)]


def loose_boxes(source: str) -> list[int]:
    """Lines that ask where an element lies, which the next frame may change: ``tab.box`` waits for it to lie still."""
    return [line for line, text in enumerate(source.splitlines(), 1) if "bounding_box()" in text]


def _reads(called: ast.expr) -> bool:
    if isinstance(called, ast.Name):
        return called.id in READS
    if not isinstance(called, ast.Attribute):
        return False
    of = ast.unparse(called.value).split(".")[0]
    return called.attr in READS or (of in TABS and called.attr in OF_TABS)


@pytest.mark.parametrize("name", sorted(path.name for path in Path(__file__).parent.glob("test_*.py")))
def test_what_an_action_leads_to_is_waited_for(name: str) -> None:
    source = (Path(__file__).parent / name).read_text()
    assert direct_reads(source) == []
    assert name == Path(__file__).name or loose_boxes(source) == []


def test_a_direct_read_is_found() -> None:
    source = """
def test_x(tab):
    tab.frame.click("a")
    assert tab.frame.inner_text("b") == "c"
    found = tab.all("b", "e.id")
    tab.expect(lambda: tab.text("b"), "c")
    box = tab.frame.locator("b").bounding_box()  # settled: it was waited for
    assert tab.hash_parameters()["step"] == all([1])
"""
    assert direct_reads(source) == [4, 5, 8]
    assert loose_boxes(source) == [7]
