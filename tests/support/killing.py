"""Killing a driver with all its processes, at a place that it has come to."""

import contextlib
import os
import signal
import sys
from pathlib import Path

from tidemark.core.processes import Child, cpu_seconds
from tidemark.core.settings import get_settings
from tidemark.core.spark_start.conf import QUIET_ARCHIVE, class_archive
from tidemark.core.waiting import wait_for

SUPPORT = Path(__file__).parent


def kill_session(leader: int) -> None:
    """Kill every process of a session that we started; Spark's workers are in process groups of their own."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(ProcessLookupError):
                if os.getsid(int(entry.name)) == leader:
                    os.kill(int(entry.name), signal.SIGKILL)


def python_environment(python: str) -> dict[str, str]:
    """The environment of a driver that some Python runs: its own Spark, and the modules of this folder."""
    project = SUPPORT.parents[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SPARK_")}
    paths = os.pathsep.join([str(project / "spark"), str(SUPPORT)])
    java = {"JDK_JAVA_OPTIONS": f"{kept.get('JDK_JAVA_OPTIONS', '')} {_archive_options(python)}".strip()}
    return {**kept, **java, "PYSPARK_PYTHON": _worker_python(python), "PYTHONPATH": paths}


def _archive_options(python: str) -> str:
    """Java's options for the archive of this environment's Spark: such a driver starts in half the time."""
    archive = class_archive(get_settings()) if python == sys.executable else None
    return "" if archive is None else f'"-XX:SharedArchiveFile={archive}" {QUIET_ARCHIVE}'


def _worker_python(python: str) -> str:
    """The Python that Spark starts as a worker, which connects before it imports; as Tidemark's own jobs have it."""
    early = Path(python).with_name("tidemark-spark-python")
    program = f"#!{python}\nfrom tidemark_spark.driver.early_worker import main\n\nmain()\n"
    # Written in an environment that has another Spark and no Tidemark, and anew where an older checkout wrote another.
    if not early.exists() or ("tidemark_spark.early_worker" in early.read_text()):
        early.write_text(program)
        early.chmod(0o755)
    return str(early)


def kill_at_seams(python: str, url: str, folder: Path, pairs: list[str], script: str = "dying_driver.py") -> None:
    """Run a dying driver over "seam:stream" pairs, and kill all of it once each query has reached its seam."""
    command = [python, str(SUPPORT / script), url, str(folder), *pairs]
    log, reached = folder / "log", [folder / f"{pair.split(':')[0]}.reached" for pair in pairs]
    driver = Child("the driver", command, log, python_environment(python))
    try:
        wait_for(
            lambda: all(file.exists() for file in reached), "each query is at its seam", depends_on=[driver],
            moves=lambda: (log.stat().st_size, cpu_seconds([driver.process.pid]) // 5), every_seconds=0.05,
        )  # fmt: skip
    finally:
        kill_session(driver.process.pid)
        driver.process.wait()
