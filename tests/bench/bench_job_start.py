"""How long a short job takes from spark-submit to its end, with the archive of classes and without.

    python tests/bench/bench_job_start.py

The job makes a session, writes a Delta table of 1,000 rows and aggregates it. Both kinds take turns; ratios are taken
within a round, and their median counts. CPU is that of all processes below.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from tidemark.core.settings import get_settings
from tidemark.core.spark_start.cds_archive import ensure_class_archive
from tidemark.core.spark_start.conf import JAVA_OPTIONS, spark_conf, submit_environment
from tidemark.core.spark_start.jars import ensure_jars

JOB = """
import sys
from pyspark.sql import SparkSession

spark = SparkSession.builder.getOrCreate()
spark.range(1000).selectExpr("id", "id % 7 AS k").write.format("delta").save(sys.argv[1])
assert len(spark.read.format("delta").load(sys.argv[1]).groupBy("k").count().collect()) == 7
spark.stop()
"""


def one_job(folder: Path, conf: dict[str, str], number: str) -> tuple[float, float]:
    """Seconds and CPU seconds of one job."""
    (folder / "job.py").write_text(JOB)
    command = [str(Path(sys.executable).with_name("spark-submit")), "--master", "local[2]"]
    for key, value in conf.items():
        command += ["--conf", f"{key}={value}"]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [*command, str(folder / "job.py"), str(folder / f"table-{number}")],
        env={**os.environ, **submit_environment(get_settings())}, check=True, capture_output=True,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(rounds: Annotated[int, typer.Option(help="Jobs of each kind.", min=1)] = 5) -> None:
    """Print the medians, and the ratios within rounds."""
    settings = get_settings()
    ensure_jars(settings, print)
    ensure_class_archive(settings, print)
    with_archive = spark_conf(settings)
    others = [option for option in with_archive[JAVA_OPTIONS].split() if "-XX:SharedArchiveFile=" not in option]
    without = {**with_archive, JAVA_OPTIONS: " ".join(others)}
    with tempfile.TemporaryDirectory(prefix="bench-start-") as scratch:
        folder = Path(scratch)
        taken = [
            (one_job(folder, with_archive, f"{n}-with"), one_job(folder, without, f"{n}-without"))
            for n in range(rounds)
        ]
    shown = {}
    for at, what in enumerate(("seconds", "cpu_seconds")):
        shown[f"with_archive_{what}"] = round(statistics.median(ours[at] for ours, _ in taken), 2)
        shown[f"without_{what}"] = round(statistics.median(theirs[at] for _, theirs in taken), 2)
        shown[f"{what}: without over with"] = round(statistics.median(b[at] / a[at] for a, b in taken), 2)
    typer.echo(json.dumps(shown, indent=2))


if __name__ == "__main__":
    typer.run(main)
