"""The demo on a busy machine: beside stress-ng, beside two other Spark jobs, or alone, each run with its figures.

By hand, as each run takes minutes: `make demo-busy ARGS="--beside stress --count 5"`. Each run is what `make demo`
does: all flights, in a place of its own. stress-ng is a package of Debian.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NamedTuple

import psutil
import typer
from airflow_world import free_port
from pyspark.sql import functions as F
from rich.console import Console
from rich.table import Table

from tidemark.core.settings import get_settings
from tidemark.core.spark_start.jars import ensure_jars
from tidemark_spark.driver.session import local_session

STRESS = "stress-ng --cpu 20 --iomix 4 --hdd 2 --vm 2 --vm-bytes 256M --quiet"
STEP = re.compile(r"^│? *(?P<step>[A-Za-z][^│┃]*?) *│ *(?P<after>[\d.]+) *│ *[\d.]+ *│?$")
"""A line of the table that says where the demo's seconds went."""
LIMIT_SECONDS = 3600
"""A demo that is not done by then is ended, and counts as a failure; its waits end long before if nothing moves."""


class Beside(StrEnum):
    """What the machine does meanwhile."""

    NOTHING = "nothing"
    STRESS = "stress"
    SPARK = "spark"


class Peak(threading.Thread):
    """The peaks of a tree of processes, looked at every second: processes, resident bytes, and the machine's load."""

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self.processes, self.resident, self.load = 0, 0, 0.0
        self._root, self._over = psutil.Process(root), threading.Event()

    def run(self) -> None:
        while not self._over.wait(1):
            resident, processes = 0, 0
            with contextlib.suppress(psutil.Error):
                for process in [self._root, *self._root.children(recursive=True)]:
                    with contextlib.suppress(psutil.Error):
                        # What processes share is not counted by each of them.
                        resident += process.memory_full_info().pss
                        processes += 1
            self.processes, self.resident = max(self.processes, processes), max(self.resident, resident)
            self.load = max(self.load, os.getloadavg()[0])

    def end(self) -> None:
        self._over.set()
        self.join()


class Outcome(NamedTuple):
    """What one run showed: its exit code, seconds after which each step was done, and its peaks."""

    code: int
    seconds: float
    steps: dict[str, float]
    peak: Peak
    shown: str


def work(settings_home: str) -> None:
    """A Spark job without an end, as others run beside the demo."""
    session = local_session("beside", get_settings().model_copy(update={"home": Path(settings_home)}))
    while True:
        numbers = session.range(20_000_000).select(
            (F.col("id") % 1_000_003).alias("k"), F.sha2(F.col("id").cast("string"), 256).alias("v")
        )
        numbers.groupBy("k").agg(F.max("v")).write.format("noop").mode("overwrite").save()


@contextlib.contextmanager
def load(beside: Beside) -> Iterator[None]:
    """Keep the machine busy, and end what does so."""
    commands = {
        Beside.NOTHING: [],
        Beside.STRESS: [STRESS.split()],
        Beside.SPARK: [[sys.executable, __file__, "--work"]] * 2,
    }[beside]
    if beside is Beside.STRESS and not shutil.which("stress-ng"):
        raise typer.BadParameter("stress-ng is not there: apt-get install stress-ng")
    with tempfile.TemporaryDirectory(prefix="beside-", ignore_cleanup_errors=True) as folder:
        # The children work in another folder, where a path that is relative to this one leads nowhere.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        children = [
            subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True) for command in commands
        ]
        try:
            yield
            if idle := [child.args for child in children if child.poll() is not None]:
                raise RuntimeError(f"the machine was not busy all the time: {idle} ended by itself")
        finally:
            for child in children:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()


def run(records: int | None, folder: Path) -> Outcome:
    """One demo in a folder of its own."""
    environment = {
        **os.environ,
        "TIDEMARK_HOME": str(folder / "home"),
        "TIDEMARK_JARS_DIR": str(get_settings().jars_dir),
    }
    command = [sys.executable, "-m", "tidemark.cli", "demo"]
    command += ["--kinesis-port", str(free_port()), "--airflow-port", str(free_port())]
    command += ["--records", str(records)] if records else []
    log = folder / "demo.log"
    began = time.monotonic()
    with log.open("wb") as output:
        demo = subprocess.Popen(command, stdout=output, stderr=output, env=environment, start_new_session=True)
    peak = Peak(demo.pid)
    peak.start()
    try:
        demo.wait(LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        demo.terminate()
        demo.wait()
    finally:
        if demo.poll() is None:
            demo.terminate()
            demo.wait()
        peak.end()
    shown = log.read_text()
    steps = {found["step"]: float(found["after"]) for found in map(STEP.match, shown.splitlines()) if found}
    return Outcome(demo.returncode, time.monotonic() - began, steps, peak, shown)


def main(
    count: Annotated[int, typer.Option(help="Runs, one after another.", min=1)] = 5,
    beside: Annotated[Beside, typer.Option(help="What the machine does meanwhile.")] = Beside.STRESS,
    records: Annotated[int | None, typer.Option(help="Flights a run; all of them without it.", min=1)] = None,
    works: Annotated[bool, typer.Option("--work", hidden=True)] = False,
) -> None:
    """Run the demo on a busy machine; exit code 1 if one run failed."""
    if works:
        work(str(Path.cwd()))
    # Whoever ends this ends its children.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    ensure_jars(get_settings(), print)
    outcomes: list[Outcome] = []
    with load(beside):
        for number in range(1, count + 1):
            with tempfile.TemporaryDirectory(prefix="busy-demo-", ignore_cleanup_errors=True) as folder:
                outcome = run(records, Path(folder))
            typer.echo(f"run {number} of {count}: exit code {outcome.code} after {outcome.seconds:.0f} s")
            if outcome.code:
                typer.echo(outcome.shown[-5000:])
            outcomes.append(outcome)
    table = Table(title=f"The demo, {count} times, beside {beside}", title_justify="left")
    table.add_column("")
    for number in range(1, count + 1):
        table.add_column(f"run {number}", justify="right")
    table.add_row("exit code", *(str(outcome.code) for outcome in outcomes))
    for step in dict.fromkeys(step for outcome in outcomes for step in outcome.steps):
        table.add_row(
            f"{step} (s)", *(f"{outcome.steps[step]:.0f}" if step in outcome.steps else "" for outcome in outcomes)
        )
    table.add_row("whole (s)", *(f"{outcome.seconds:.0f}" for outcome in outcomes))
    table.add_row("processes at the peak", *(str(outcome.peak.processes) for outcome in outcomes))
    table.add_row("memory at the peak (GiB)", *(f"{outcome.peak.resident / 2**30:.1f}" for outcome in outcomes))
    table.add_row("load at the peak", *(f"{outcome.peak.load:.0f}" for outcome in outcomes))
    Console().print(table)
    raise typer.Exit(int(any(outcome.code for outcome in outcomes)))


if __name__ == "__main__":
    typer.run(main)
