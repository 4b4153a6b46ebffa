"""A driver that is asked to stop answers before it ends."""

from pyspark.sql import SparkSession

from tidemark.core.settings import Settings
from tidemark.core.stream_locks import running_streams, stop_file
from tidemark_spark.driver.supervisor import Supervisor


def test_the_request_to_stop_is_gone_when_the_streams_have_ended(spark: SparkSession, settings: Settings) -> None:
    supervisor = Supervisor("flights", ["ingest"], settings)
    query = spark.readStream.format("rate").load().writeStream.format("noop").queryName("flights.ingest").start()
    try:
        supervisor.watch([query])
        assert running_streams("flights", settings).keys() == {"ingest"}
        stop_file("flights", settings).touch()
        assert query.awaitTermination(120), "it has been stopped"
        supervisor.close()
        assert not stop_file("flights", settings).exists()
    finally:
        query.stop()


def test_streams_that_end_by_themselves_leave_nobody_waiting(spark: SparkSession, settings: Settings) -> None:
    supervisor = Supervisor("flights", ["ingest"], settings)
    query = spark.readStream.format("rate").load().writeStream.format("noop").queryName("flights.ingest").start()
    supervisor.watch([query])
    query.stop()
    supervisor.close()
    assert not stop_file("flights", settings).exists()
