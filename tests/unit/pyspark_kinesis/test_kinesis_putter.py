"""What a task puts: each row at least once, in the order of its key, and nothing of a batch with a bad row."""

import json
from collections import Counter
from collections.abc import Iterator
from urllib.request import Request, urlopen

import pyarrow as pa
import pytest
from kinesis_streams import Stream
from pyspark.sql.types import BinaryType, StringType, StructField, StructType
from scripted_http import scripted_server

from kinesis_emulator import running_emulator
from pyspark_kinesis.api.client import KinesisClient
from pyspark_kinesis.errors import KinesisSourceError, OptionError, StreamNotFoundError
from pyspark_kinesis.options.put import parse_put
from pyspark_kinesis.sink.put_records import Put, Putter

KEYED = StructType([StructField("data", BinaryType()), StructField("partitionKey", StringType())])
WITH_STREAMS = StructType([*KEYED.fields, StructField("streamName", StringType())])


@pytest.fixture(scope="module")
def limited_url() -> Iterator[str]:
    """An emulator whose shards take 1,000 records a second, as real ones do."""
    with running_emulator(arguments=("--create-milliseconds", "0", "--limits")) as url:
        yield url


def new_stream(url: str, shards: int = 2) -> Stream:
    stream = Stream(url)
    stream.client.create_stream(StreamName=stream.name, ShardCount=shards)
    return stream


def put(stream: Stream, *batches: pa.RecordBatch, **options: str) -> Put:
    given = {"endpointUrl": stream.url, "streamName": stream.name, **options}
    return Putter(parse_put(given, KEYED), KinesisClient("us-east-1", stream.url)).put(iter(batches))


def rows(values: range, keys: int = 7) -> pa.RecordBatch:
    data = pa.array([str(n).encode() for n in values], pa.binary())
    return pa.record_batch({"data": data, "partitionKey": pa.array([str(n % keys) for n in values], pa.string())})


def calls(url: str) -> int:
    return int(json.loads(urlopen(f"{url}/_control/stats").read())["calls"].get("PutRecords", 0))


def arm(url: str, *faults: dict[str, object]) -> None:
    urlopen(Request(f"{url}/_control/faults", json.dumps(faults).encode(), method="POST")).close()


def by_key(stream: Stream) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for record in stream.records():
        found.setdefault(record["PartitionKey"], []).append(int(record["Data"]))
    return found


def test_every_key_is_in_order_over_calls_and_batches(kinesis_url: str) -> None:
    stream = new_stream(kinesis_url)
    done = put(stream, rows(range(1000)), rows(range(0)), rows(range(1000, 1500)), maxRecordsPerPut="10")
    assert done == Put(1500, sum(len(str(n)) + 1 for n in range(1500)), 0)
    assert by_key(stream) == {str(key): list(range(key, 1500, 7)) for key in range(7)}


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, 3), ({"maxRecordsPerPut": "100"}, 13), ({"maxBytesPerPut": "1000"}, 130), ({"maxBytesPerPut": "1"}, 1300)],
)
def test_calls_stay_within_the_limits(kinesis_url: str, options: dict[str, str], expected: int) -> None:
    stream, before = new_stream(kinesis_url), calls(kinesis_url)
    batch = pa.record_batch({"data": [b"." * 99] * 1300, "partitionKey": ["k"] * 1300})
    assert put(stream, batch, **options).records == 1300
    assert calls(kinesis_url) - before == expected


def test_only_what_was_refused_is_put_again(limited_url: str) -> None:
    stream = new_stream(limited_url, shards=1)
    done = put(stream, rows(range(2500)))
    assert done.records == 2500
    assert done.retried > 0, "a shard takes 1,000 a second"
    assert Counter(record["Data"] for record in stream.records()) == Counter(str(n).encode() for n in range(2500))


def test_what_is_still_refused_when_patience_ends_is_an_error_that_says_what_was_put(limited_url: str) -> None:
    stream = new_stream(limited_url, shards=1)
    with pytest.raises(KinesisSourceError, match="its shards take less than is written: reshard it") as error:
        put(stream, rows(range(6000)), patienceSeconds="0.2")
    assert error.value.__notes__ == [
        f"Put before that, and still in the stream: {len(stream.records())} records of this task"
    ]


@pytest.mark.parametrize("kind", ["throttle", "error", "close"])
def test_calls_that_fail_as_a_whole_are_made_again(kinesis_url: str, kind: str) -> None:
    stream = new_stream(kinesis_url)
    arm(kinesis_url, {"operation": "PutRecords", "kind": kind, "calls": 5})
    try:
        assert put(stream, rows(range(700)), maxRecordsPerPut="50").records == 700
    finally:
        arm(kinesis_url)
    found = Counter(int(record["Data"]) for record in stream.records())
    assert set(found) == set(range(700))
    # Only where the answer was lost may a record be there twice.
    assert (max(found.values()) > 1) == (kind == "close")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"data": None}, "partitionKey 'k' has no data: filter"),
        ({"partitionKey": None}, "row 600 of an Arrow batch has no partitionKey: fill it"),
        ({"partitionKey": ""}, "'' has a key of 0 characters; Kinesis takes 1 to 256"),
        ({"partitionKey": "ä" * 257}, "257 characters"),
        ({"data": b"." * 2**20}, "partitionKey 'k' has 1048577 bytes with its key, and maxRecordBytes is 1048576"),
        ({"explicitHashKey": "9" * 5000}, "partitionKey 'k' has the explicitHashKey '9+', which is not a decimal"),
        ({"explicitHashKey": str(2**128)}, "not a decimal number below"),
        ({"explicitHashKey": "007"}, "without leading zeros"),
        ({"explicitHashKey": "٣"}, "not a decimal number below"),
        ({"streamName": "no such name"}, "partitionKey 'k' has the streamName 'no such name': a name has"),
    ],
)
def test_a_bad_row_is_named_and_nothing_of_its_batch_is_put(
    kinesis_url: str, bad: dict[str, object], message: str
) -> None:
    stream = new_stream(kinesis_url)
    good = {"data": b"x", "partitionKey": "k", "explicitHashKey": str(2**128 - 1), "streamName": stream.name}
    schema = pa.schema({"data": pa.binary(), **dict.fromkeys(list(good)[1:], pa.string())})
    batch = pa.RecordBatch.from_pylist([good] * 600 + [{**good, **bad}], schema)
    with pytest.raises(KinesisSourceError, match=message):
        put(stream, batch)
    assert not stream.records()


def test_a_bad_row_without_a_key_of_its_own_is_counted(kinesis_url: str) -> None:
    batch = pa.record_batch({"data": pa.array([b"x", None], pa.binary())})
    with pytest.raises(KinesisSourceError, match=r"^row 1 of an Arrow batch has no data"):
        put(new_stream(kinesis_url), batch)


def test_a_record_as_large_as_allowed_and_a_key_as_long_are_put(kinesis_url: str) -> None:
    stream, key = new_stream(kinesis_url), "ä" * 256
    batch = pa.record_batch({"data": [b"." * (2**20 - 512)], "partitionKey": [key]})
    assert put(stream, batch).bytes == 2**20
    assert [record["PartitionKey"] for record in stream.records()] == [key]


def test_text_of_any_arrow_width_is_put_as_utf_8(kinesis_url: str) -> None:
    stream = new_stream(kinesis_url)
    for kind in (pa.string(), pa.large_string(), pa.binary(), pa.large_binary()):
        put(
            stream,
            pa.record_batch({"data": pa.array(['ä"\\']).cast(kind), "partitionKey": pa.array(['"\\ü'], pa.string())}),
        )
    assert [(r["Data"], r["PartitionKey"]) for r in stream.records()] == [('ä"\\'.encode(), '"\\ü')] * 4


def test_rows_name_their_streams_and_null_is_the_options(kinesis_url: str) -> None:
    one, two = new_stream(kinesis_url), new_stream(kinesis_url)
    batch = pa.record_batch(
        {"data": ["1", "2", "3"], "partitionKey": ["k"] * 3, "streamName": [two.name, None, two.name]}
    )
    assert put(one, batch).records == 3
    assert [[int(r["Data"]) for r in stream.records()] for stream in (one, two)] == [[2], [1, 3]]


def test_without_the_option_every_row_needs_a_stream(kinesis_url: str) -> None:
    one = new_stream(kinesis_url)
    putter = Putter(parse_put({"endpointUrl": one.url}, WITH_STREAMS), KinesisClient("us-east-1", one.url))
    good = pa.record_batch({"data": ["1"], "partitionKey": ["k"], "streamName": [one.name]})
    assert putter.put(iter([good])).records == 1
    bad = pa.record_batch({"data": ["1"], "partitionKey": ["k"], "streamName": pa.array([None], pa.string())})
    with pytest.raises(KinesisSourceError, match="'k' has no streamName: fill it, or set the option"):
        putter.put(iter([bad]))


def test_a_stream_that_does_not_exist_is_an_error(kinesis_url: str) -> None:
    with pytest.raises(StreamNotFoundError, match="create it, or correct"):
        put(Stream(kinesis_url), rows(range(3)))


def test_an_endpoint_that_says_nothing_of_the_records_is_no_success() -> None:
    with scripted_server((200, b"{}")) as url, pytest.raises(KinesisSourceError, match="is endpointUrl a Kinesis"):
        put(Stream(url), rows(range(3)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"streamName": "a,b"}, "add a column streamName"),
        ({}, "streamName and streamARN"),
        ({"streamName": "a", "maxRecordsPerPut": "501"}, "at most 500"),
        ({"streamName": "a", "requestsInFlight": "0"}, "above 0"),
        ({"streamName": "a", "ledgerLocation": "/l"}, "unknown option"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        parse_put(options, KEYED)
