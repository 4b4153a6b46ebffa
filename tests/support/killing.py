"""Killing a driver with all its processes, at a place that it has come to."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

SUPPORT = Path(__file__).parent
PATIENCE_SECONDS = 240


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
    return {**kept, "PYSPARK_PYTHON": python, "PYTHONPATH": os.pathsep.join([str(project / "spark"), str(SUPPORT)])}


def kill_at_seams(python: str, url: str, folder: Path, pairs: list[str], script: str = "dying_driver.py") -> None:
    """Run a dying driver over "seam:stream" pairs, and kill all of it once each query has reached its seam."""
    command = [python, str(SUPPORT / script), url, str(folder), *pairs]
    with (folder / "log").open("w") as log:
        driver = subprocess.Popen(
            command, stdout=log, stderr=log, start_new_session=True, env=python_environment(python)
        )
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not all((folder / f"{pair.split(':')[0]}.reached").exists() for pair in pairs):
                assert driver.poll() is None, (folder / "log").read_text()[-3000:]
                assert time.monotonic() < deadline, (folder / "log").read_text()[-3000:]
                time.sleep(0.05)
        finally:
            kill_session(driver.pid)
            driver.wait()
