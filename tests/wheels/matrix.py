"""The full matrix of the two wheels: each Python from 3.10 to 3.13 that is on this machine, Spark 4.1 and 4.2.

Newest dependencies, and, on the oldest Python, the oldest that the wheels allow. Run by `make test-wheels`, not by CI:
an environment with Spark has 700 MB.
"""

import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pyarrow.dataset as pads
import pytest
from wheel_environments import Environment, asked_for

_SPARKS = ("4.1", "4.2")
_HOME = Path.home()


def _pythons() -> dict[str, str]:
    """The Pythons by version: on PATH, pyenv's and uv's."""
    found: dict[str, str] = {}
    pyenv = Path(os.environ.get("PYENV_ROOT", _HOME / ".pyenv")) / "versions"
    managed = Path(os.environ.get("UV_PYTHON_INSTALL_DIR", _HOME / ".local/share/uv/python"))
    for version in ("3.10", "3.11", "3.12", "3.13"):
        name = f"python{version}"
        elsewhere = [*pyenv.glob(f"{version}.*/bin/{name}"), *managed.glob(f"cpython-{version}.*/bin/{name}")]
        for place in filter(None, [shutil.which(name), *elsewhere]):
            # A name on PATH may be a shim that starts nothing.
            if subprocess.run([str(place), "-c", "import venv"], capture_output=True, check=False).returncode == 0:
                found[version] = str(place)
                break
    return found


PYTHONS = _pythons()
CASES = [(python, spark, "highest") for python in PYTHONS for spark in _SPARKS]
CASES += [(python, spark, "lowest-direct") for python in list(PYTHONS)[:1] for spark in _SPARKS]


@pytest.mark.parametrize(("python", "spark", "resolution"), CASES)
def test_the_first_query_reads_each_record_once(
    python: str, spark: str, resolution: str, wheels: dict[str, Path], first_query: str, tmp_path: Path
) -> None:
    environment = Environment.make(tmp_path / "venv", PYTHONS[python])
    # uv takes for direct what it is given by name.
    direct = [one for wheel in wheels.values() for one in asked_for(wheel)]
    environment.install("--resolution", resolution, f"pyspark=={spark}.*", *map(str, wheels.values()), *direct)
    (tmp_path / "first_query.py").write_text(first_query)
    assert environment.run(tmp_path, "python", "first_query.py").split() == ["100", "100"]
    [rows] = tmp_path.glob("*/rows")
    values = pads.dataset(rows, format="parquet").to_table(columns=["data"])["data"].to_pylist()
    assert Counter(values) == Counter(str(n).encode() for n in range(100))
    # datetime.fromisoformat of Python 3.10 knows neither the Z nor a single digit after the point.
    script = "from pyspark_kinesis.options.stream import at_iso_time; print(at_iso_time('', '1970-01-01T00:00:01.5Z'))"
    assert environment.run(tmp_path, "python", "-c", script).split() == ["@1.500"]
    shutil.rmtree(environment.folder)
