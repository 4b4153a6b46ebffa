"""Spark sessions: the one of a spark-submit, or a local one with Tidemark's settings."""

import os

from pyspark.sql import SparkSession

from tidemark.core.settings import Settings
from tidemark.core.spark_start.conf import spark_conf, worker_python


def session(name: str) -> SparkSession:
    """The session of a job started by spark-submit, which has its settings and master from there."""
    return SparkSession.builder.appName(name).getOrCreate()


def local_session(name: str, settings: Settings, master: str = "local[2]") -> SparkSession:
    """A session on this machine, for tests, benchmarks and exploration."""
    # Without spark-submit, PySpark starts its workers with whatever python3 is on the PATH.
    os.environ.setdefault("PYSPARK_PYTHON", worker_python())
    builder = SparkSession.builder.appName(name).master(master)
    for key, value in spark_conf(settings, master).items():
        builder = builder.config(key, value)
    return builder.getOrCreate()
