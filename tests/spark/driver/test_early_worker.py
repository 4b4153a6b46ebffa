"""A Python worker connects to Spark before its imports, so that a busy machine does not make Spark give it up."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from tidemark.core.settings import get_settings
from tidemark.core.spark_start.conf import spark_conf, worker_python

# What a busy machine does to the imports of a worker: here one takes longer than the ten seconds that Spark waits.
SLOW = """
    import sys
    import time

    class Busy:
        def find_spec(self, name, path=None, target=None):
            if name == "pyarrow" and "pyspark.sql.streaming.python_streaming_source_runner" in sys.orig_argv:
                time.sleep(11)

    sys.meta_path.insert(0, Busy())
"""
JOB = """
    from pyspark.sql import SparkSession
    from pyspark.sql.datasource import DataSource, SimpleDataSourceStreamReader

    class Two(SimpleDataSourceStreamReader):
        def initialOffset(self):
            return {"n": 0}

        def read(self, start):
            rows = [(n,) for n in range(start["n"], 2)]
            return iter(rows), {"n": 2}

        def readBetweenOffsets(self, start, end):
            return iter([(n,) for n in range(start["n"], end["n"])])

    class Source(DataSource):
        @classmethod
        def name(cls):
            return "two"

        def schema(self):
            return "n INT"

        def simpleStreamReader(self, schema):
            return Two()

    spark = SparkSession.builder.getOrCreate()
    spark.dataSource.register(Source)
    query = spark.readStream.format("two").load().writeStream.format("memory").queryName("it")
    query.trigger(availableNow=True).start().awaitTermination()
    print("rows", spark.table("it").count())
"""


def run(python: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The job, with a source runner whose import of PyArrow takes eleven seconds."""
    slow = folder / "slow"
    slow.mkdir(exist_ok=True)
    (slow / "sitecustomize.py").write_text(textwrap.dedent(SLOW))
    (folder / "job.py").write_text(textwrap.dedent(JOB))
    conf = {**spark_conf(get_settings()), "spark.pyspark.python": python, "spark.sql.extensions": ""}
    given = [part for name, value in conf.items() for part in ("--conf", f"{name}={value}")]
    submit = str(Path(sys.executable).with_name("spark-submit"))
    environment = {**os.environ, "PYTHONPATH": str(slow), "PYSPARK_PYTHON": python}
    return subprocess.run(
        [submit, "--master", "local[1]", *given, str(folder / "job.py")],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_worker_whose_imports_take_longer_than_spark_waits_is_not_given_up(tmp_path: Path) -> None:
    assert worker_python() != sys.executable, "the setup installs it"
    early = run(worker_python(), tmp_path)
    assert "rows 2" in early.stdout, early.stderr[-2000:]
    late = run(sys.executable, tmp_path)
    assert "connect back" in late.stdout + late.stderr, "this does not show what the early connection is good for"
