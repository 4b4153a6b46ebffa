"""Virtual environments that hold nothing of the project but what is installed into them."""

import json
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = Path(__file__).parents[2]
SOURCES = {
    "pyspark_kinesis": PROJECT / "packages" / "pyspark-kinesis",
    "kinesis_emulator": PROJECT / "packages" / "kinesis-emulator",
}
"""What each is built from, but for its package."""
PACKAGES = {
    "pyspark_kinesis": PROJECT / "spark" / "pyspark_kinesis",
    "kinesis_emulator": PROJECT / "include" / "kinesis_emulator",
}
LOCKED = ("--constraint", str(PROJECT / "requirements.txt"))
"""Versions of the lock, which are in uv's cache already."""
UV = str(Path(sys.executable).with_name("uv"))
# PySpark's own worker, but it connects before it imports: Spark waits ten seconds for that, however busy all is.
_EARLY = f"""#!{{python}}
import runpy

runpy.run_path({str(PROJECT / "spark" / "tidemark_spark" / "driver" / "early_worker.py")!r}, run_name="__main__")
"""


def run(command: list[str], **how: object) -> str:
    """What a command prints; AssertionError with all that it said if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **how)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    return str(done.stdout)


def metadata_of(wheel: Path) -> Message:
    """What a wheel says of itself (core metadata)."""
    with zipfile.ZipFile(wheel) as archive:
        [path] = [path for path in archive.namelist() if path.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(path).decode())


def asked_for(wheel: Path) -> list[str]:
    """The requirements of a wheel, without those of its extras."""
    found = [Requirement(line) for line in metadata_of(wheel).get_all("Requires-Dist", [])]
    return [str(one) for one in found if one.marker is None or "extra" not in str(one.marker)]


@dataclass(frozen=True)
class Environment:
    """A virtual environment, in which only what it is given can be imported."""

    folder: Path

    @property
    def python(self) -> str:
        return str(self.folder / "bin" / "python")

    @classmethod
    def make(cls, folder: Path, python: str = sys.executable) -> "Environment":
        run([UV, "venv", "--quiet", "--no-python-downloads", "--python", python, str(folder)])
        made = cls(folder)
        early = folder / "bin" / "early-worker"
        early.write_text(_EARLY.format(python=made.python))
        early.chmod(0o755)
        return made

    def install(self, *what: str) -> None:
        # Elsewhere than in the project, whose pins uv would apply: a stranger has none.
        run([UV, "pip", "install", "--quiet", "--python", self.python, *what], cwd=self.folder)

    def packages(self) -> dict[str, str]:
        """The distributions that are installed, with their versions; AssertionError if they do not fit together."""
        run([UV, "pip", "check", "--quiet", "--python", self.python], cwd=self.folder)
        listed = run([UV, "pip", "list", "--format", "json", "--python", self.python], cwd=self.folder)
        return {one["name"]: one["version"] for one in json.loads(listed)}

    def variables(self, folder: Path) -> dict[str, str]:
        """What a process of it finds in its environment: nothing of this one's Python, and a place for its files."""
        left_out = ("PYTHON", "PYSPARK", "SPARK", "TIDEMARK", "VIRTUAL_ENV")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
        path = f"{self.folder / 'bin'}{os.pathsep}{kept.get('PATH', os.defpath)}"
        ours = {"PATH": path, "PYSPARK_PYTHON": str(self.folder / "bin" / "early-worker"), "TMPDIR": str(folder)}
        spark = {"PYSPARK_DRIVER_PYTHON": self.python, "SPARK_LOCAL_IP": "127.0.0.1"}
        return {**kept, **ours, **spark, "AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}

    def run(self, folder: Path, *command: str, **variables: str) -> str:
        """What a command of the environment prints, run in a folder of its own."""
        folder.mkdir(exist_ok=True)
        environment = {**self.variables(folder), **variables}
        return run([str(self.folder / "bin" / command[0]), *command[1:]], env=environment, cwd=folder)
