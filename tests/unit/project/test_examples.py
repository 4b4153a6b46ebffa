"""The examples in docstrings show what happens: each of them runs as it is written."""

import doctest
import importlib
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

ROOT = Path(__file__).parents[3]
# The examples of a group run in one namespace and in this order: those of the view use the tables that the first makes.
GROUPS = {
    "definition": [
        "tidemark.definition.pipeline",
        "tidemark.definition.schema",
        "tidemark.definition.window",
        "tidemark.definition.measures.base",
        "tidemark.definition.measures.sketches",
    ],
    "emulator": ["kinesis_emulator.runner"],
    "serving": ["tidemark.serving", "tidemark.serving.view", "tidemark.serving.session", "tidemark.serving.sql"],
}
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize("group", GROUPS)
def test_each_example_shows_what_happens(group: str) -> None:
    namespace: dict[str, object] = {"__name__": "__main__"}
    report: list[str] = []
    for name in GROUPS[group]:
        examples = [test for test in doctest.DocTestFinder().find(importlib.import_module(name)) if test.examples]
        assert examples, f"{name} has no example any more: take it out of GROUPS"
        for test in sorted(examples, key=lambda test: test.lineno or 0):
            test.globs = namespace
            runner = doctest.DocTestRunner(optionflags=OPTIONS)
            runner.run(test, out=report.append, clear_globs=False)
    for value in namespace.values():
        if isinstance(value, TemporaryDirectory):
            value.cleanup()
    namespace.clear()
    assert not report, "".join(report)


def test_no_example_is_left_out() -> None:
    files = [(root, path) for root in (ROOT / "include", ROOT / "spark") for path in root.rglob("*.py")]
    shown = [path.relative_to(root).with_suffix("").parts for root, path in files if ">>> " in path.read_text()]
    assert {".".join(parts).removesuffix(".__init__") for parts in shown} == {
        n for names in GROUPS.values() for n in names
    }
