"""What the two distributions import is what their pyproject.toml declares, and nothing comes by way of another."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DISTRIBUTIONS = ROOT / "packages"
FOLDERS = {"kinesis_emulator": ROOT / "include/kinesis_emulator", "pyspark_kinesis": ROOT / "spark/pyspark_kinesis"}
# What the surroundings bring, by the module that imports it: Spark, and the pytest that loads a plugin.
BROUGHT = {"pyspark_kinesis": {"pyspark": "pyspark"}, "kinesis_emulator": {"pytest": "pytest_plugin"}}
# Installed on Python 3.10 only, so that it is not in this environment.
OLD_PYTHON = {"async_timeout": ["async-timeout"]}


def imported(folder: Path) -> dict[str, set[str]]:
    """The packages that a folder's modules import, each with the names of these modules."""
    found: dict[str, set[str]] = {}
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path} imports relatively"
                names = [node.module or ""]
            for name in names:
                found.setdefault(name.partition(".")[0], set()).add(path.stem)
    return {name: modules for name, modules in found.items() if name not in {*sys.stdlib_module_names, folder.name}}


@pytest.mark.parametrize("package", FOLDERS)
def test_each_package_that_is_imported_is_declared_and_each_that_is_declared_is_imported(package: str) -> None:
    distribution = DISTRIBUTIONS / package.replace("_", "-")
    project = tomllib.loads((distribution / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[^\w.-]", one)[0] for one in project["dependencies"]}
    used = imported(FOLDERS[package])
    for name, module in BROUGHT[package].items():
        modules = used.pop(name)
        assert module == name or modules == {module}, f"{name} is imported by {modules}"
    distributions = packages_distributions() | OLD_PYTHON
    needed = {name: sorted({one.lower() for one in distributions.get(name, [name])}) for name in used}
    undeclared = {name: sorted(used[name]) for name, of in needed.items() if not declared.intersection(of)}
    assert not undeclared, f"declare in {distribution}/pyproject.toml what these modules import"
    assert not declared.difference(*needed.values()), "declared, and imported nowhere"
    [told] = re.findall(r"(?:needs|depends on:) ([^.;:]*) and ([\w-]+)", (distribution / "README.md").read_text())
    assert {*re.split(r",\s+", told[0]), told[1]} == declared - {"async-timeout"}, "the README says what is needed"
