"""The examples in docstrings show what happens: each of them runs as it is written."""

import doctest
import importlib
import pkgutil
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

# The examples of a group run in one namespace and in this order: those of the view use the tables that the first makes.
GROUPS = {
    "definition": [
        "tidemark.definition.pipeline",
        "tidemark.definition.schema",
        "tidemark.definition.window",
        "tidemark.definition.measures.base",
        "tidemark.definition.measures.sketches",
    ],
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
    packages = [importlib.import_module(name) for name in ("tidemark.definition", "tidemark.serving")]
    found = [one for package in packages for one in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    modules = [*packages, *(importlib.import_module(one.name) for one in found)]
    shown = {module.__name__ for module in modules if ">>> " in Path(str(module.__file__)).read_text()}
    assert shown == {name for names in GROUPS.values() for name in names}
