"""One Spark session a process, with Tidemark's own settings."""

import logging
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from layers import refine, settings
from pyspark.sql import SparkSession

from tidemark.core.settings import get_settings
from tidemark.core.spark_start.jars import ensure_jars
from tidemark_spark.driver.session import local_session

# Hundreds of JVMs live for seconds here, and what an optimising compiler spends on one is half of its processor time.
# With it off, Java keeps 48 MB for compiled code. A session of many tests fills them: it sweeps, and compiles again.
# Every `java` below this process reads it.
os.environ.setdefault(
    "JDK_JAVA_OPTIONS",
    "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -XX:+UseSerialGC -XX:MetaspaceSize=256m",
)

# A bound of time would fail on a busy machine what passes on a quiet one.
hypothesis_settings.register_profile("tidemark", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("tidemark")

__all__ = ["refine", "settings", "spark"]


@pytest.fixture(autouse=True)
def fresh_settings() -> Iterator[None]:
    """The settings of a test are those of its own environment: they are read once a process, and kept."""
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    own = get_settings()
    ensure_jars(own, print)
    session = local_session("tests", own)
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


def pytest_unconfigure() -> None:
    # py4j says that its connections close when Python ends, to a stream that pytest has closed by then, and Airflow's
    # logging set-up lets it. Pytest's summary is to be the last thing said.
    logging.disable(logging.CRITICAL)
