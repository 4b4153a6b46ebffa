"""What a machine must have is checked before anything is downloaded, and each lack is said with its remedy."""

import subprocess
import sys
from pathlib import Path

import pytest

from tidemark.settings import Settings

SCRIPT = Settings().project_dir / "scripts" / "prerequisites.sh"


def check(what: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", **environment}
    return subprocess.run(["sh", str(SCRIPT), what], env=environment, capture_output=True, text=True, check=False)


def fake_java(folder: Path, version: str) -> str:
    java = folder / "bin" / "java"
    java.parent.mkdir()
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2026-01-20' >&2\n")
    java.chmod(0o755)
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


def test_a_missing_python_is_said_with_the_remedy(tmp_path: Path) -> None:
    # Only the shell's own commands are on this PATH.
    checked = subprocess.run(
        ["/bin/sh", str(SCRIPT), "python"], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 1
    assert "Python 3.11 was not found; install it" in checked.stderr
