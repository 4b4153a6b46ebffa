"""The two distributions, built as strangers get them, and the query that is tried with them."""

import re
import sys
from pathlib import Path

import pytest
from wheel_environments import SOURCES, UV, run


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an sdist and a wheel of each; wheels are built from the sdists."""
    folder = tmp_path_factory.mktemp("dist")
    build = [UV, "build", "--quiet", "--no-build-isolation", "--python", sys.executable, "--out-dir", str(folder)]
    for source in SOURCES.values():
        run([*build, str(source)])
    return folder


@pytest.fixture(scope="session")
def wheels(built: Path) -> dict[str, Path]:
    """The wheel of each import package."""
    return {name: next(built.glob(f"{name}-*.whl")) for name in SOURCES}


@pytest.fixture(scope="session")
def first_query() -> str:
    """The first query of pyspark-kinesis' README, as a reader pastes it."""
    readme = (SOURCES["pyspark_kinesis"] / "README.md").read_text()
    [code] = re.findall(r"^```python\n(# first_query\.py\n.*?)^```", readme, re.MULTILINE | re.DOTALL)
    return str(code)
