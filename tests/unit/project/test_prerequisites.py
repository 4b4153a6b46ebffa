"""What a machine must have is checked before anything is downloaded, and each lack is said with its remedy."""

import subprocess
import sys
from pathlib import Path

import pytest

from tidemark.core.settings import Settings

SCRIPT = Settings().project_dir / "scripts" / "prerequisites.sh"
OLDEST, NEWEST = 11, 14


def check(what: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", **environment}
    return subprocess.run(["/bin/sh", str(SCRIPT), what], env=environment, capture_output=True, text=True, check=False)


def fake_java(folder: Path, version: str) -> str:
    java = folder / "bin" / "java"
    java.parent.mkdir()
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2026-01-20' >&2\n")
    java.chmod(0o755)
    return str(folder)


def fake_python(path: Path, minor: int, *, venv: bool = True) -> Path:
    """A program that answers as Python 3.``minor`` would: this Python, with another version and other modules."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"""#!{sys.executable}
import sys, sysconfig
sysconfig.get_config_vars()
sys.version_info, sys._base_executable = (3, {minor}, 0, "final", 0), __file__
if not {venv}:
    sys.modules["venv"] = None
sys.argv = sys.argv[1:]
exec(sys.stdin.read() if sys.argv[0] == "-" else sys.argv[1], {{}})
""")
    path.chmod(0o755)
    return path


def tools(folder: Path) -> str:
    """A PATH with what the script itself needs, and no Python."""
    folder.mkdir()
    for name in ("sed", "dirname"):
        (folder / name).symlink_to(f"/usr/bin/{name}")
    return str(folder)


@pytest.mark.parametrize("version", ["17", "17.0.15", "21-ea", "21.0.2+13"])
def test_a_jdk_from_17_on_is_accepted(tmp_path: Path, version: str) -> None:
    assert check("java", JAVA_HOME=fake_java(tmp_path, version)).returncode == 0


@pytest.mark.parametrize("version", ["1.8.0_392", "11.0.22", "16.0.1"])
def test_an_older_jdk_is_refused_with_its_version_and_the_remedy(tmp_path: Path, version: str) -> None:
    checked = check("java", JAVA_HOME=fake_java(tmp_path, version))
    assert checked.returncode == 1
    assert f"is version {version}, and Spark needs 17 or newer; install a JDK 17 or 21" in checked.stderr


def test_a_missing_jdk_is_said_with_the_remedy(tmp_path: Path) -> None:
    checked = check("java", JAVA_HOME=str(tmp_path))
    assert checked.returncode == 1
    assert "no Java found" in checked.stderr
    assert "openjdk-17-jdk-headless" in checked.stderr


def test_this_python_will_do_and_its_path_is_printed() -> None:
    checked = check("python", PYTHON=sys.executable)
    assert checked.returncode == 0
    assert Path(checked.stdout.strip()).samefile(sys.executable)


@pytest.mark.parametrize("minor", range(OLDEST - 1, NEWEST + 2))
def test_each_python_of_the_range_will_do_and_no_other(tmp_path: Path, minor: int) -> None:
    python = fake_python(tmp_path / "own" / "python", minor)
    checked = check("python", PATH=tools(tmp_path / "bin"), PYTHON=str(python))
    if OLDEST <= minor <= NEWEST:
        assert checked.stdout == f"{python}\n", checked.stderr
    else:
        assert checked.returncode == 1
        assert f"PYTHON is set to '{python}', which is not Python 3.11 to 3.14; set it" in checked.stderr


def test_the_oldest_on_the_path_is_taken_and_the_newest_where_it_is_asked_for(tmp_path: Path) -> None:
    path = tools(tmp_path / "bin")
    for minor in (12, 13):
        fake_python(tmp_path / "bin" / f"python3.{minor}", minor)
    shim = tmp_path / "bin" / "python3.11"  # of a Python that is not switched on
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    pyenv = fake_python(tmp_path / "pyenv" / "versions" / "3.14.0" / "bin" / "python3.14", 14)
    where = {"PATH": path, "PYENV_ROOT": str(tmp_path / "pyenv")}
    assert check("python", **where).stdout == f"{tmp_path}/bin/python3.12\n"
    assert check("newest", **where).stdout == f"{pyenv}\n"
    assert check("python", **where, PYTHON="python3.14").stdout == f"{pyenv}\n"
    assert check("python", **where, PYTHON="python3.13").stdout == f"{tmp_path}/bin/python3.13\n"


def test_a_python_without_venv_is_passed_over_and_named_if_there_is_no_other(tmp_path: Path) -> None:
    path = tools(tmp_path / "bin")
    fake_python(tmp_path / "bin" / "python3.12", 12, venv=False)
    checked = check("python", PATH=path)
    assert checked.returncode == 1
    assert "python3.12 cannot make virtual environments" in checked.stderr
    assert "apt-get install python3.12-venv" in checked.stderr
    fake_python(tmp_path / "bin" / "python3", 13)
    assert check("python", PATH=path).stdout == f"{tmp_path}/bin/python3\n"


def test_a_missing_python_is_said_with_the_remedy(tmp_path: Path) -> None:
    checked = check("python", PATH=tools(tmp_path / "bin"))
    assert checked.returncode == 1
    assert "Python 3.11 to 3.14 was not found; install one" in checked.stderr
