"""An emulator, and streams in it, for the source's tests with Spark."""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kinesis_streams import Stream
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql.streaming import StreamingQuery

from kinesis_emulator import running_emulator
from tidemark.core.waiting import wait_for

# Set when this file is read, before any Spark session starts, since Spark's Python workers inherit its environment.
os.environ.setdefault("AWS_ACCESS_KEY_ID", "test")
os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "test")


class _Alive:
    """A query, as a dependency of a wait."""

    def __init__(self, query: StreamingQuery) -> None:
        self._query = query

    def check(self) -> None:
        """Raise what ended the query."""
        if (error := self._query.exception()) is not None:
            raise error


class Sink:
    """A foreachBatch sink that keeps batches by their number, as an idempotent sink does, and checks replays."""

    def __init__(self) -> None:
        self.batches: dict[int, list[Row]] = {}
        self._lock = threading.Lock()

    def __call__(self, frame: DataFrame, batch: int) -> None:
        rows = frame.collect()
        with self._lock:
            if batch in self.batches:
                assert sorted(self.batches[batch]) == sorted(rows), f"batch {batch} was replayed with other rows"
            self.batches[batch] = rows

    @property
    def rows(self) -> list[Row]:
        with self._lock:
            return [row for batch in sorted(self.batches) for row in self.batches[batch]]

    def wait_for(self, number: int, query: StreamingQuery) -> None:
        """Wait until so many rows are there; raise what ended the query otherwise."""
        wait_for(
            lambda: len(self.rows) >= number, f"{number} rows", depends_on=[_Alive(query)],
            moves=lambda: (len(self.rows), str(query.status)), every_seconds=0.05,
        )  # fmt: skip

    def assert_each_once_in_order(self, stream: Stream) -> None:
        assert Counter(bytes(row.data) for row in self.rows) == Counter(stream.values)
        last: dict[str, int] = {}
        for row in self.rows:
            assert last.get(row.shardId, 0) < int(row.sequenceNumber), f"out of order in {row.shardId}"
            last[row.shardId] = int(row.sequenceNumber)


@dataclass
class Reading:
    """A query over a stream, that can be started again and again on one checkpoint."""

    spark: SparkSession
    stream: Stream
    folder: Path
    options: dict[str, Any]

    def start(self, sink: Callable[[DataFrame, int], None], **trigger: Any) -> StreamingQuery:
        reader = self.spark.readStream.format("kinesis").option("streamName", self.stream.name)
        reader = reader.option("endpointUrl", self.stream.url).option("ledgerLocation", str(self.folder / "ledger"))
        writer = reader.options(**self.options).load().writeStream.foreachBatch(sink)
        if trigger:
            writer = writer.trigger(**trigger)
        return writer.option("checkpointLocation", str(self.folder / "checkpoint")).start()


@pytest.fixture(scope="session")
def kinesis_url() -> Iterator[str]:
    with running_emulator(arguments=("--create-milliseconds", "0")) as url:
        yield url


@pytest.fixture
def stream(kinesis_url: str) -> Stream:
    """A new stream of two shards."""
    stream = Stream(kinesis_url)
    stream.client.create_stream(StreamName=stream.name, ShardCount=2)
    return stream


@pytest.fixture
def reading(spark: SparkSession, stream: Stream, tmp_path: Path) -> Iterator[Callable[..., Reading]]:
    """Makes a Reading; what it started is stopped at the end."""
    before = {query.id for query in spark.streams.active}
    yield lambda **options: Reading(spark, stream, tmp_path, options)
    for query in spark.streams.active:
        if query.id not in before:
            query.stop()


@pytest.fixture
def sink() -> Sink:
    return Sink()
