"""The API reference has every public name, each with a docstring, which lists the errors that its own code raises."""

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import griffe
import pytest
import yaml

ROOT = Path(__file__).parents[3]
PUBLIC = [
    "tidemark.definition", "tidemark.definition.measures", "tidemark.definition.schema", "tidemark.definition.window",
    "tidemark.serving", "tidemark.airflow.operators", "pyspark_kinesis", "pyspark_kinesis.errors",
    "pyspark_kinesis.options", "pyspark_kinesis.api", "kinesis_emulator", "kinesis_emulator.pytest_plugin",
]  # fmt: skip
"""Packages and modules. Public are the names in ``__all__``; without it, all names of the modules but ``_private``."""
DIRECTIVE = re.compile(r"^::: (\S+)\n((?:^ {4}.*\n)*)", re.MULTILINE)


@pytest.fixture(scope="module")
def modules() -> griffe.ModulesCollection:
    """Everything that is public, read from the sources: nothing is imported."""
    loader = griffe.GriffeLoader(search_paths=[ROOT / "include", ROOT / "spark"])
    for package in sorted({name.partition(".")[0] for name in PUBLIC}):
        loader.load(package)
    loader.resolve_aliases(implicit=False)
    return loader.modules_collection


def members(module: griffe.Module) -> Iterator[griffe.Object]:
    """The public names of a module, and of a package without ``__all__`` those of its modules."""
    for name, member in module.members.items():
        if module.exports is not None and name in module.exports:
            yield member.final_target if isinstance(member, griffe.Alias) else member
        elif module.exports is None and not name.startswith("_") and not member.is_alias:
            yield from members(member) if member.is_module else [member]


def public(modules: griffe.ModulesCollection) -> dict[str, griffe.Object]:
    return {one.canonical_path: one for name in PUBLIC for one in members(modules[name])}


def with_members(one: griffe.Object) -> Iterator[griffe.Object]:
    """A class with its public attributes and methods; anything else alone."""
    yield one
    if one.is_class:
        for name, member in one.members.items():
            if not name.startswith("_") and not member.is_alias:
                yield from with_members(member)


def said_of(one: griffe.Object) -> str:
    """Its docstring; a method that has none has that of the method that it overrides."""
    same = [base.members.get(one.name) for base in one.parent.mro()] if isinstance(one.parent, griffe.Class) else []
    return next((found.docstring.value for found in [one, *same] if found is not None and found.docstring), "")


def raised_by(function: griffe.Function) -> set[str]:
    """The errors that a function makes and raises itself, not in a function within it."""
    [node] = ast.parse(textwrap.dedent(function.source)).body
    waiting, found = list(ast.iter_child_nodes(node)), set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            found.add(node.exc.func.id)
        waiting += ast.iter_child_nodes(node)
    return {name for name in found if name[0].isupper()} - {"AssertionError"}


def test_each_public_name_is_in_the_reference(modules: griffe.ModulesCollection) -> None:
    listed = set()
    for page in (ROOT / "docs" / "api").glob("*.md"):
        for path, options in DIRECTIVE.findall(page.read_text()):
            one = modules[path].final_target if modules[path].is_alias else modules[path]
            shown = (yaml.safe_load(options) or {}).get("options", {}).get("members", True)
            listed.update([one.canonical_path] if not one.is_module else [])
            listed.update(member.canonical_path for member in (members(one) if one.is_module and shown else []))
    assert set(public(modules)) - listed == set(), "name it in a page of docs/api"
    assert listed - set(public(modules)) == set(), "is in docs/api, and not public"


def test_each_public_name_has_a_docstring(modules: griffe.ModulesCollection) -> None:
    every = [modules[name] for name in PUBLIC] + [
        each for one in public(modules).values() for each in with_members(one)
    ]
    assert [one.canonical_path for one in every if not said_of(one)] == []


def test_the_docstring_names_the_errors_that_are_raised(modules: griffe.ModulesCollection) -> None:
    every = [each for one in public(modules).values() for each in with_members(one)]
    missing = {
        function.canonical_path: lacking
        for function in every
        if isinstance(function, griffe.Function)
        and (lacking := {name for name in raised_by(function) if name not in said_of(function)})
    }
    assert missing == {}
