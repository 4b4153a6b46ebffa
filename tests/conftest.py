"""One Spark session a process, with Tidemark's own settings."""

from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

from tidemark.jars import ensure_jars
from tidemark.settings import get_settings
from tidemark_spark.session import local_session


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    settings = get_settings()
    ensure_jars(settings, print)
    session = local_session("tests", settings)
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()
