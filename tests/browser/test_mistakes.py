"""What looked right on the page and was not: differences across composites, classes by number, links to nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser_helpers import Open, View, WrittenRun

pytestmark = pytest.mark.browser


def chosen(*runs: str, more: str = "") -> str:
    names = ",".join(f"{run}%252Flrp" for run in runs)
    return f"lrp_monitor&p.lrp_monitor.runs={names}{more}"


def written(folder: Path, **options: object) -> None:
    run = WrittenRun(folder, **options)  # type: ignore[arg-type]  # options of many kinds, by name
    run.log(0)
    run.log(3)
    run.close()


def test_a_difference_to_a_run_of_another_composite_is_marked(tmp_path: Path, view: View, visit: Open) -> None:
    for name, composite in (("a", "epsilon_plus_flat"), ("b", "epsilon"), ("c", "epsilon_plus_flat")):
        written(tmp_path / name, composite=composite)
    server = view(tmp_path)
    tab = visit(server, fragment=chosen("a", "b", more="&p.lrp_monitor.minus=run:b%2Flrp"))
    tab.wait_for_step(3)
    frame = tab.frame
    frame.wait_for_selector("[data-testid=probe-0] [data-testid=other-rules]")
    tab.expect(lambda: len(tab.all("[data-testid=probe-0] [data-testid=other-rules]", "1")), 1)  # not on the reference
    tab.expect_text("remarks", "other rules: composite epsilon_plus_flat less composite epsilon")
    option = "[data-testid=minus] option[value='run:b/lrp']"
    tab.expect(lambda: ["(epsilon)" in text for text in tab.all(option, "e.textContent")], [True])
    same = visit(server, fragment=chosen("a", "c", more="&p.lrp_monitor.minus=run:c%2Flrp"))
    same.wait_for_step(3)
    same.frame.wait_for_selector("[data-testid=remarks] li:has-text('difference to run')")
    same.expect(lambda: same.all("[data-testid=other-rules]", "1"), [])
    same.expect(lambda: "other rules" in same.text("remarks"), False)


def test_classes_of_one_probe_set_are_not_numbers_of_another(tmp_path: Path, view: View, visit: Open) -> None:
    written(tmp_path / "a", class_names=("cat", "dog"))
    written(tmp_path / "b", class_names=("dog", "cat"), hash="cd" * 32)  # labels 0, 1, 1 in both
    tab = visit(view(tmp_path), fragment=chosen("a", "b"))
    tab.wait_for_step(3)
    frame = tab.frame
    frame.click("[data-testid=classes] >> text=cat")
    first, second = (f"[data-hash='{text * 32}'] article" for text in ("ab", "cd"))
    frame.wait_for_function("one => document.querySelectorAll(one).length === 1", arg=first)
    frame.wait_for_function("one => document.querySelectorAll(one).length === 2", arg=second)
    tab.expect(lambda: tab.all(f"{second} .label", "e.innerText"), ["label cat", "label cat"])


def test_a_link_to_a_run_that_is_gone_says_so(tmp_path: Path, view: View, visit: Open) -> None:
    written(tmp_path / "a")
    tab = visit(view(tmp_path), fragment=chosen("gone"))
    tab.frame.wait_for_selector("[data-testid=gone]")
    tab.expect_text("gone", "not in the log directory (any more): gone/lrp")
    for name in ("first-step", "previous-step", "play", "next-step", "last-step", "follow", "slider"):
        tab.expect(lambda name=name: tab.frame.is_disabled(f"[data-testid={name}]"), True)
    tab.frame.click("[data-testid=gone] button")
    tab.wait_for_step(3)
    tab.expect(lambda: tab.all("[data-testid=gone]", "1"), [])


def test_the_opened_probe_keeps_its_input_in_film_mode(tmp_path: Path, view: View, visit: Open) -> None:
    written(tmp_path / "a")
    tab = visit(view(tmp_path), fragment=chosen("a", more="&p.lrp_monitor.show=film"))
    tab.frame.click("[data-testid=open-1]")
    tab.frame.wait_for_selector("[data-testid=probe-view] [data-testid=input-1]")
    tab.frame.wait_for_selector("[data-testid=probe-view] canvas[data-testid=heatmap-1]")


def test_each_run_is_asked_for_once_and_for_no_clusters_where_there_are_none(
    tmp_path: Path, view: View, visit: Open
) -> None:
    names = [f"run{i:02d}" for i in range(12)]
    for name in names:
        written(tmp_path / name)
    tab = visit(view(tmp_path), fragment=chosen(names[0]))
    tab.wait_for_step(3)
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url))
    for name in names[1:]:
        tab.frame.check(f"[data-testid=runs] label[title='{name}'] input")
    tab.frame.wait_for_function(
        "() => new Set([...document.querySelectorAll('canvas[data-run]')].map(c => c.dataset.run)).size === 12"
    )
    tab.frame.wait_for_function("() => document.querySelectorAll('[data-testid=timeline] path.line').length === 12")
    of = {route: [url for url in asked if f"/{route}?" in url] for route in ("run", "clusters")}
    assert len(of["run"]) == len(set(of["run"])) == 22  # in brief, and then all
    assert of["clusters"] == []
