"""The distributions, built as strangers get them, and what is tried with them."""

import re
import shutil
import sys
from pathlib import Path

import pytest
from wheel_environments import PROJECT, SOURCES, UV, run


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an sdist and a wheel of each; wheels are built from the sdists."""
    folder = tmp_path_factory.mktemp("dist")
    build = [UV, "build", "--quiet", "--no-build-isolation", "--python", sys.executable, "--out-dir", str(folder)]
    for source in (PROJECT, *SOURCES.values()):
        run([*build, str(source)])
    return folder


@pytest.fixture(scope="session")
def wheels(built: Path) -> dict[str, Path]:
    """The wheel of each import package that is a distribution of its own."""
    return {name: next(built.glob(f"{name}-*.whl")) for name in SOURCES}


@pytest.fixture(scope="session")
def tidemark(built: Path) -> Path:
    """The wheel of the platform."""
    return next(built.glob("tidemark-*.whl"))


@pytest.fixture(scope="session")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a user's own with a definition and its suite."""
    folder = tmp_path_factory.mktemp("own") / "pipelines"
    (folder / "expectations").mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("taxis.py"), folder)
    (folder / "expectations" / "taxis.json").write_text('{"name": "taxis", "expectations": [], "meta": {}}')
    return folder


@pytest.fixture(scope="session")
def first_query() -> str:
    """The first query of pyspark-kinesis' README, as a reader pastes it."""
    readme = (SOURCES["pyspark_kinesis"] / "README.md").read_text()
    [code] = re.findall(r"^```python\n(# first_query\.py\n.*?)^```", readme, re.MULTILINE | re.DOTALL)
    return str(code)
