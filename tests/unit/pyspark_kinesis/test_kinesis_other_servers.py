"""Servers that are not AWS: kinesalite says of each answer that it is at the tip, others of the tip's millisecond."""

from dataclasses import replace
from pathlib import Path

import pytest
from kinesis_engine import DiedError, Engine, Stream, assert_each_once_in_order, engine

from pyspark_kinesis.api.client import KinesisClient, Tally
from pyspark_kinesis.api.decoding import Page
from pyspark_kinesis.options.batch import parse_batch
from pyspark_kinesis.reading import batch as batch_reader
from pyspark_kinesis.reading import task as reading
from pyspark_kinesis.reading.batch import KinesisBatchReader
from pyspark_kinesis.shards import cursor


class AtTheTip(KinesisClient):
    def records(self, iterator: str, limit: int, stream_arn: str | None = None, tally: Tally | None = None) -> Page:
        return replace(super().records(iterator, limit, stream_arn, tally), behind_ms=0)


@pytest.fixture
def stream(kinesis_url: str, monkeypatch: pytest.MonkeyPatch) -> Stream:
    for module in (batch_reader, cursor, reading):
        monkeypatch.setattr(module, "MAX_RECORDS_A_CALL", 10)
    return Stream(AtTheTip("us-east-1", kinesis_url), shards=2)


def assert_all_that_is_available(query: Engine, stream: Stream) -> None:
    """Trigger until the query ends by itself, as availableNow does, which may be too early."""
    query.planner.freeze()
    while query.trigger("none"):
        pass
    assert_each_once_in_order(query, stream)


@pytest.mark.parametrize("max_records", [None, 8, 1000])
def test_a_query_reads_on_until_an_answer_is_not_full(stream: Stream, tmp_path: Path, max_records: int | None) -> None:
    stream.put(70)
    query = engine(stream.client, stream, tmp_path, max_records=max_records)
    assert_all_that_is_available(query, stream)


def test_a_replay_reads_all_of_its_batch(stream: Stream, tmp_path: Path) -> None:
    stream.put(70)
    query = engine(stream.client, stream, tmp_path)
    with pytest.raises(DiedError):
        query.trigger("emitted")
    query.restart()
    assert_all_that_is_available(query, stream)


def test_a_batch_read_reads_on_until_an_answer_is_not_full(stream: Stream, kinesis_url: str) -> None:
    stream.put(70)
    reader = KinesisBatchReader(parse_batch({"streamName": stream.name, "endpointUrl": kinesis_url, "tasks": "1"}))
    reader._client = lambda: stream.client  # type: ignore[method-assign]
    rows = [row for part in reader.partitions() for batch in reader.read(part) for row in batch.column(0).to_pylist()]
    assert sorted(rows) == sorted(stream.put_so_far)
