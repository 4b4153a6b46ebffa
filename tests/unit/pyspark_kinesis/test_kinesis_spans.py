"""Batch reads without Spark: exactly what is between two points, the same for each attempt, page by page."""

import base64
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from urllib.request import urlopen

import pytest
from kinesis_streams import Stream
from pyspark.sql.datasource import EqualTo, Filter, GreaterThan, GreaterThanOrEqual, In, LessThan, LessThanOrEqual

from kinesis_emulator import running_emulator
from pyspark_kinesis.api.client import KinesisClient
from pyspark_kinesis.api.positions import Shard
from pyspark_kinesis.errors import DataLossError, OptionError
from pyspark_kinesis.options.batch import parse_batch
from pyspark_kinesis.reading.batch import FilteringBatchReader, SpanPartition

FIRST, SECOND = "shardId-000000000000", "shardId-000000000001"


def new_stream(url: str, shards: int = 2) -> Stream:
    stream = Stream(url)
    stream.client.create_stream(StreamName=stream.name, ShardCount=shards)
    return stream


def reader(stream: Stream, **options: str) -> FilteringBatchReader:
    given = {"streamName": stream.name, "endpointUrl": stream.url, "maxGetRecordsPerSecond": "0", **options}
    return FilteringBatchReader(parse_batch(given))


def read(of: FilteringBatchReader, partitions: Iterable[SpanPartition] | None = None) -> list[bytes]:
    parts = of.partitions() if partitions is None else partitions
    return [value for part in parts for batch in of.read(part) for value in batch.column(0).to_pylist()]


def iso(milliseconds: int, micros: int = 0) -> str:
    return (datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=milliseconds, microseconds=micros)).isoformat()


def arrivals(stream: Stream) -> dict[bytes, int]:
    """Each value's arrival in epoch milliseconds."""
    return {r["Data"]: round(r["ApproximateArrivalTimestamp"].timestamp() * 1000) for r in stream.records()}


def get_records_calls(url: str) -> int:
    return int(json.loads(urlopen(f"{url}/_control/stats").read())["calls"].get("GetRecords", 0))


def test_times_are_exact_to_the_millisecond(kinesis_url: str) -> None:
    stream = new_stream(kinesis_url)
    for _ in range(12):
        stream.put(2)
    arrived = arrivals(stream)
    times = sorted(set(arrived.values()))
    assert len(times) > 3
    for since in (times[0], times[0] + 1, times[2]):
        for until in (times[2], times[-1] - 1, times[-1]):
            span = {"startingPosition": "AT_TIMESTAMP", "startingTimestamp": iso(since), "endingTimestamp": iso(until)}
            expected = sorted(value for value, at in arrived.items() if since <= at <= until)
            assert sorted(read(reader(stream, **span))) == expected
    # Later in its millisecond than 0: still that one, never the next.
    later = read(reader(stream, endingTimestamp=iso(times[2] - 1, 999)))
    assert sorted(later) == sorted(value for value, at in arrived.items() if at < times[2])


@pytest.mark.parametrize("options", [{}, {"endingTimestamp": "2999-01-01"}])
def test_an_attempt_that_comes_later_reads_the_same(kinesis_url: str, options: dict[str, str]) -> None:
    stream = new_stream(kinesis_url)
    stream.put(40)
    of = reader(stream, tasks="2", **options)
    partitions = of.partitions()
    assert len(partitions) == 2
    before = read(of, partitions)
    stream.put(30)
    stream.resize(4)
    stream.put(30)
    assert read(of, partitions) == before
    assert sorted(before) == sorted(stream.values[:40])


def test_shards_that_were_closed_are_read_to_their_ends(kinesis_url: str) -> None:
    stream = new_stream(kinesis_url)
    for shards in (4, 2, 3):
        stream.put(50)
        stream.resize(shards)
    stream.put(50)
    of = reader(stream)
    partitions = of.partitions()
    assert len(partitions) == len(stream.client.list_shards(StreamName=stream.name)["Shards"]), "a task for each"
    assert sorted(read(of, partitions)) == sorted(stream.values)


class Resharding(KinesisClient):
    """A client behind whose back the stream is resharded and written to, after each time that it lists the shards."""

    stream: Stream
    numbers: Iterator[int]

    def shards(self, stream: dict[str, str]) -> list[Shard]:
        listed = super().shards(stream)
        self.stream.resize(next(self.numbers))
        self.stream.put(10)
        return listed


def test_a_reshard_while_it_is_planned_loses_nothing(kinesis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = new_stream(kinesis_url)
    stream.put(10)
    client = Resharding("us-east-1", kinesis_url)
    client.stream, client.numbers = stream, iter((4, 8, 16))
    of = reader(stream)
    monkeypatch.setattr(of, "_client", lambda: client)
    partitions = of.partitions()
    until = partitions[0].until * 1000
    assert sorted(read(of, partitions)) == sorted(value for value, at in arrivals(stream).items() if at <= until)


def test_a_shard_is_handed_on_page_by_page(kinesis_url: str) -> None:
    stream = new_stream(kinesis_url, shards=1)
    stream.put_large(24, 1_000_000)
    of = reader(stream)
    (partition,) = of.partitions()
    before = get_records_calls(kinesis_url)
    batches = of.read(partition)
    first = next(batches)
    assert get_records_calls(kinesis_url) - before == 1
    assert first.num_rows < 24
    assert first.num_rows + sum(batch.num_rows for batch in batches) == 24


def test_aggregates_are_split(kinesis_url: str) -> None:
    stream = new_stream(kinesis_url, shards=1)
    # Two user records, "a" and "bc", under the keys "k" and "l", as the KPL writes them.
    aggregate = base64.b64decode("84mawgoBawoBbBoFCAAaAWEaBggBGgJiY4s77PMr9syDeRVzrq7qYnU=")
    stream.put(1)
    stream.client.put_record(StreamName=stream.name, Data=aggregate, PartitionKey="x")
    of = reader(stream)
    (batch,) = of.read(of.partitions()[0])
    assert list(zip(*(batch.column(n).to_pylist() for n in (0, 1, 5)), strict=True)) == [
        (b"0", "0", 0), (b"a", "k", 0), (b"bc", "l", 1),
    ]  # fmt: skip


def test_positions_begin_after_and_end_with_their_records(kinesis_url: str) -> None:
    stream = new_stream(kinesis_url)
    stream.put(60)
    first = [record for record in stream.records() if record["ShardId"] == FIRST]
    numbers, values = [r["SequenceNumber"] for r in first], [r["Data"] for r in first]
    second = [record["Data"] for record in stream.records() if record["ShardId"] == SECOND]
    begin, end = json.dumps({FIRST: numbers[3]}), json.dumps({FIRST: numbers[8]})
    assert read(reader(stream, startingPosition=begin, endingPosition=end)) == values[4:9]
    assert read(reader(stream, endingPosition=json.dumps({stream.name: json.loads(end)}))) == values[:9]
    assert read(reader(stream, startingPosition=begin)) == values[4:] + second
    drained = json.dumps({FIRST: "SHARD_END"})
    assert read(reader(stream, startingPosition=drained)) == second
    assert read(reader(stream, startingPosition=drained, endingPosition=end)) == []


def test_shards_that_are_gone_are_data_loss(kinesis_url: str) -> None:
    stream = new_stream(kinesis_url)
    stream.put(10)
    end = json.dumps({FIRST: str(2**190), "shardId-000000000099": "1"})
    with pytest.raises(DataLossError, match=r"shardId-000000000099, which Kinesis does not list.*failOnDataLoss=false"):
        reader(stream, endingPosition=end).partitions()
    left = read(reader(stream, endingPosition=end, failOnDataLoss="false"))
    assert left == [record["Data"] for record in stream.records() if record["ShardId"] == FIRST]


def test_a_start_in_a_shard_that_aged_out_is_data_loss() -> None:
    # Its retention period of 24 hours lasts 1.2 s.
    with running_emulator(arguments=("--create-milliseconds", "0", "--hour-seconds", "0.05")) as url:
        stream = new_stream(url, shards=1)
        stream.put(1)
        number = stream.records()[0]["SequenceNumber"]
        stream.resize(2)
        shards = {FIRST}
        while FIRST in shards:
            shards = {shard["ShardId"] for shard in stream.client.list_shards(StreamName=stream.name)["Shards"]}
        with pytest.raises(DataLossError, match="records have aged out"):
            reader(stream, startingPosition=json.dumps({FIRST: number})).partitions()


def test_times_to_come_hold_nothing(kinesis_url: str) -> None:
    stream = new_stream(kinesis_url)
    stream.put(5)
    assert reader(stream, startingPosition="AT_TIMESTAMP", startingTimestamp="2999-01-01").partitions() == []
    assert read(reader(stream, endingTimestamp="1970-01-01")) == []


@pytest.mark.parametrize(
    ("filters", "shards", "values"),
    [
        ([EqualTo(("shardId",), SECOND)], 1, None),
        ([In(("shardId",), (FIRST, SECOND)), EqualTo(("shardId",), FIRST)], 1, None),
        ([EqualTo(("shardId",), FIRST), EqualTo(("shardId",), SECOND)], 0, 0),
        ([EqualTo(("streamName",), "another")], 0, 0),
        ([GreaterThan(("approximateArrivalTimestamp",), datetime(2999, 1, 1, tzinfo=UTC))], 0, 0),
        ([LessThanOrEqual(("approximateArrivalTimestamp",), datetime(1970, 1, 1, tzinfo=UTC))], 2, 0),
        ([LessThan(("partitionKey",), "5")], 2, 20),
    ],
)
def test_filters_narrow_what_is_asked_for(
    kinesis_url: str, filters: list[Filter], shards: int, values: int | None
) -> None:
    stream = new_stream(kinesis_url)
    stream.put(20)
    of = reader(stream)
    assert list(of.pushFilters(filters)) == filters, "Spark checks them all the same"
    partitions = of.partitions()
    assert sum(len(partition.spans) for partition in partitions) == shards
    if values is not None:
        assert len(read(of, partitions)) == values


def test_filters_by_time_lose_nothing(kinesis_url: str) -> None:
    stream = new_stream(kinesis_url)
    for _ in range(8):
        stream.put(2)
    arrived = arrivals(stream)
    middle = sorted(arrived.values())[8]
    moment = datetime.fromisoformat(iso(middle))
    column = ("approximateArrivalTimestamp",)
    of = reader(stream)
    of.pushFilters([GreaterThanOrEqual(column, moment), LessThanOrEqual(column, moment)])
    assert sorted(read(of)) == sorted(value for value, at in arrived.items() if at == middle)
    of = reader(stream)
    of.pushFilters([EqualTo(column, moment)])
    assert sorted(read(of)) == sorted(value for value, at in arrived.items() if at == middle)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ledgerLocation": "/l"}, "ledgerLocation: for readStream"),
        ({"endingPosition": "{}"}, "names no shard"),
        ({"endingPosition": '{"shardId-0": "1"}', "endingTimestamp": "2026-01-01"}, "contradict"),
        (
            {
                "startingPosition": "AT_TIMESTAMP",
                "startingTimestamp": "2026-01-02",
                "endingTimestamp": "2026-01-01T23:59:59",
            },
            "before startingTimestamp",
        ),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        parse_batch({"streamName": "s", **options})
