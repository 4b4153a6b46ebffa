"""What the two distributions hold, that they need nothing else of the project, and that a query runs on them."""

import importlib
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pyarrow.dataset as pads
import pytest
from wheel_environments import LOCKED, PACKAGES, SOURCES, UV, Environment, asked_for, metadata_of, run

from kinesis_emulator import running_emulator

SPARK = f"pyspark=={importlib.metadata.version('pyspark')}"


DOCUMENTS = {"README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "hatch_build.py"}


def active_files(name: str) -> set[str]:
    """The files of a package, code and data."""
    folder = PACKAGES[name]
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {path for path in files if "__pycache__" not in path}


@pytest.fixture(scope="module")
def installed(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Both wheels, what they ask for, and Spark."""
    environment = Environment.make(tmp_path_factory.mktemp("installed") / "venv")
    environment.install(*LOCKED, SPARK, *map(str, wheels.values()))
    return environment


@pytest.mark.parametrize("name", SOURCES)
def test_a_wheel_holds_its_package_whole_and_nothing_else(name: str, wheels: dict[str, Path]) -> None:
    with zipfile.ZipFile(wheels[name]) as wheel:
        found = set(wheel.namelist())
    about = {path for path in found if path.split("/")[0].endswith(".dist-info")}
    assert found - about == {f"{name}/{path}" for path in active_files(name)}
    assert any(path.endswith("/licenses/LICENSE") for path in about)


@pytest.mark.parametrize("name", SOURCES)
def test_an_sdist_holds_what_a_wheel_is_built_from_and_the_documents(name: str, built: Path) -> None:
    with tarfile.open(next(built.glob(f"{name}-*.tar.gz"))) as sdist:
        assert all(member.isfile() for member in sdist.getmembers())
        found = {path.split("/", 1)[1] for path in sdist.getnames()}
    package = {f"{name}/{path}" for path in active_files(name)}
    assert found - {".gitignore"} == package | DOCUMENTS | {"PKG-INFO"}


@pytest.mark.parametrize("name", SOURCES)
def test_a_wheel_built_without_an_sdist_is_the_same_one(name: str, wheels: dict[str, Path], tmp_path: Path) -> None:
    """As pip builds it from the repository (#subdirectory): with the licence, byte for byte."""
    build = [UV, "build", "--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable]
    run([*build, "--out-dir", str(tmp_path), str(SOURCES[name])])
    assert next(tmp_path.glob("*.whl")).read_bytes() == wheels[name].read_bytes()


@pytest.mark.parametrize("name", SOURCES)
def test_what_a_wheel_says_of_itself(name: str, wheels: dict[str, Path]) -> None:
    about = metadata_of(wheels[name])
    assert about["Name"] == name.replace("_", "-")
    assert about["License-Expression"] == "Apache-2.0"
    assert about["Requires-Python"] == ">=3.10"
    assert about["Version"] == importlib.import_module(name).__version__
    assert f"## [{about['Version']}]" in (SOURCES[name] / "CHANGELOG.md").read_text()
    assert about.get_payload() == (SOURCES[name] / "README.md").read_text()
    assert "](.." not in str(about.get_payload()), "links into the repository lead nowhere from a package's page"


def test_every_module_is_imported_with_nothing_but_what_the_wheels_ask_for(
    installed: Environment, tmp_path: Path
) -> None:
    script = """if True:
        import importlib, importlib.metadata, pkgutil, sys
        name, other = sys.argv[1:]
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not module.name.endswith(".pytest_plugin"):  # which pytest loads, where there is one
                importlib.import_module(module.name)
        print(package.__version__, importlib.metadata.version(name), other in sys.modules)
        print(*sorted(d.name for d in importlib.metadata.distributions()))
    """
    for name, other in (tuple(SOURCES), tuple(reversed(SOURCES))):
        said, have = installed.run(tmp_path, "python", "-c", script, name, other).splitlines()
        version, installed_version, brings_other = said.split()
        assert version == installed_version
        assert brings_other == "False", f"{name} imports {other}"
        assert not set(have.split()) & {"tidemark", "boto3", "pandas"}


def test_the_readmes_first_query_reads_each_record_once_over_a_restart(
    installed: Environment, first_query: str, tmp_path: Path
) -> None:
    (tmp_path / "first_query.py").write_text(first_query)
    assert installed.run(tmp_path, "python", "first_query.py").split() == ["100", "100"]
    [rows] = tmp_path.glob("*/rows")
    values = pads.dataset(rows, format="parquet").to_table(columns=["data"])["data"].to_pylist()
    assert Counter(values) == Counter(str(n).encode() for n in range(100))


def test_the_example_of_the_emulators_readme_runs(installed: Environment, tmp_path: Path) -> None:
    readme = (SOURCES["kinesis_emulator"] / "README.md").read_text()
    [code] = re.findall(r"^```python\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert installed.run(tmp_path, "python", "-c", code).split() == ["[]"]


def test_mypy_sees_the_types_of_both(installed: Environment, tmp_path: Path) -> None:
    shutil.copy(Path(__file__).with_name("consumer.py"), tmp_path)
    # Spark's own types are another's, and take half a minute.
    (tmp_path / "mypy.ini").write_text("[mypy]\nstrict = true\n[mypy-pyspark.*]\nfollow_imports = skip\n")
    command = [sys.executable, "-m", "mypy", "--python-executable", installed.python, "consumer.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    wrong = [line.split("error: ")[1] for line in done.stdout.splitlines() if "error: " in line]
    assert [line.rsplit("[", 1)[1] for line in wrong] == ["assignment]", "arg-type]"], done.stdout + done.stderr


def test_code_that_came_with_py_files_is_found_by_the_planner_and_by_the_tasks_of_a_cluster(
    wheels: dict[str, Path], tmp_path: Path
) -> None:
    environment = Environment.make(tmp_path / "venv")
    environment.install(*LOCKED, SPARK, *asked_for(wheels["pyspark_kinesis"]))
    # Spark takes .zip and .egg, and a wheel is a zip.
    code = shutil.copy(wheels["pyspark_kinesis"], tmp_path / "pyspark_kinesis.zip")
    master = ["--master", "local-cluster[1,2,1024]", "--conf", "spark.ui.enabled=false"]
    with running_emulator(arguments=("--create-milliseconds", "0")) as url:
        job = str(Path(__file__).with_name("shipped_job.py"))
        said = environment.run(
            tmp_path / "run", "spark-submit", *master, "--py-files", str(code), job, url, str(tmp_path / "run")
        )
    [line] = [line for line in said.splitlines() if line.startswith("seen ")]
    seen = json.loads(line.removeprefix("seen "))
    assert "/pyspark_kinesis.zip/" in seen.pop("driver"), "the package is the one that Spark brought"
    assert seen == {"first": 100, "restarted": 100, "batch": 210}
