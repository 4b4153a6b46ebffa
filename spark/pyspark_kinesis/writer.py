"""``df.write.format("kinesis")`` and ``df.writeStream.format("kinesis")``: rows into a stream, at least once."""

import logging
import random
from binascii import b2a_base64
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import orjson
import pyarrow as pa
from pyspark.sql.datasource import DataSourceArrowWriter, DataSourceStreamArrowWriter, WriterCommitMessage
from pyspark.sql.types import BinaryType, StringType, StructType
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_random_exponential

from pyspark_kinesis.client import KinesisClient, shared_client
from pyspark_kinesis.errors import KinesisSourceError, OptionError
from pyspark_kinesis.identity import Identity
from pyspark_kinesis.options import Stream, count_of, identity_of, refuse_unknown, seconds_of, streams_of

KNOWN_TO_WRITER = (
    "streamName", "streamARN", "region", "endpointUrl", "roleArn", "roleSessionName", "roleExternalId",
    "stsEndpointUrl", "awsProfile", "maxRecordsPerPut", "maxBytesPerPut", "maxRecordBytes", "requestsInFlight",
    "patienceSeconds",
)  # fmt: skip
_COLUMNS = {"data": (BinaryType, StringType), "partitionKey": (StringType,), "explicitHashKey": (StringType,)}
_HASH_KEYS = 2**128


class PutError(KinesisSourceError):
    """Records could not be put; the message says how many, and why."""


@dataclass(frozen=True)
class PutOptions:
    """What a write asks for. Sizes in bytes; a record's is its data's and its partition key's."""

    stream: Stream
    region: str
    endpoint_url: str | None
    identity: Identity
    # The API's own limits on a PutRecords call and on a record, which an account may have raised.
    records_per_put: int = 500
    bytes_per_put: int = 5 * 1024 * 1024
    record_bytes: int = 1024 * 1024
    requests_in_flight: int = 4
    patience_seconds: float = 60.0


def parse_put(options: Mapping[str, str]) -> PutOptions:
    """Options of a write. Raises OptionError as options.parse does."""
    given = {name.lower(): str(value) for name, value in options.items()}
    # Spark's own, which come with every streaming write.
    for name in ("path", "checkpointlocation"):
        given.pop(name, None)
    refuse_unknown(given, KNOWN_TO_WRITER)

    def text(name: str) -> str | None:
        return given.get(name.lower())

    def count(name: str, default: int) -> int:
        return count_of(name, text(name), default) or default

    streams, region = streams_of(text("streamName"), text("streamARN"), text("region"))
    if len(streams) > 1:
        raise OptionError("a write goes to one stream: use a write for each")
    return PutOptions(
        streams[0],
        region,
        text("endpointUrl"),
        identity_of(text),
        records_per_put=count("maxRecordsPerPut", PutOptions.records_per_put),
        bytes_per_put=count("maxBytesPerPut", PutOptions.bytes_per_put),
        record_bytes=count("maxRecordBytes", PutOptions.record_bytes),
        requests_in_flight=count("requestsInFlight", PutOptions.requests_in_flight),
        patience_seconds=seconds_of("patienceSeconds", text("patienceSeconds"), PutOptions.patience_seconds),
    )


def check_columns(schema: StructType) -> None:
    """Raise OptionError where a column is missing, unknown, or of a type that Kinesis has not."""
    known = "data (binary or string), partitionKey (string, optional), explicitHashKey (string, optional)"
    if wrong := [field.name for field in schema.fields if field.name not in _COLUMNS]:
        raise OptionError(f"column {', '.join(wrong)}: the kinesis writer takes {known}; select these")
    if "data" not in schema.names:
        raise OptionError(f"there is no column data: the kinesis writer takes {known}; select these")
    for field in schema.fields:
        if not isinstance(field.dataType, _COLUMNS[field.name]):
            raise OptionError(
                f"column {field.name} is {field.dataType.simpleString()}: the kinesis writer takes {known}"
            )


@dataclass(frozen=True)
class Put(WriterCommitMessage):
    """What one task put."""

    records: int
    bytes: int
    retried: int


@dataclass(frozen=True)
class Record:
    """One record as it goes into a request, and its size as the API counts it."""

    request: bytes
    size: int
    lane: int


class Putter:
    """Puts the rows of one task.

    Each partition key belongs to one of ``requests_in_flight`` lanes, and a lane's calls follow one another, a call's
    failed records before the next call's. So the records of a key arrive in the order of the rows, save where Kinesis
    took some records of a call and refused others of the same key.
    """

    def __init__(self, options: PutOptions, client: KinesisClient) -> None:
        self._options = options
        self._client = client
        self._head = orjson.dumps(options.stream.arguments)[:-1] + b',"Records":['
        self.records = self.bytes = self.retried = 0

    def put(self, batches: Iterator[pa.RecordBatch]) -> Put:
        """Put all rows, each batch checked as a whole before any of it is put. Raises PutError."""
        with ThreadPoolExecutor(self._options.requests_in_flight) as pool:
            for batch in batches:
                lanes: list[list[Record]] = [[] for _ in range(self._options.requests_in_flight)]
                for record in self._records(batch):
                    lanes[record.lane].append(record)
                for retried in pool.map(self._put_lane, lanes):
                    self.retried += retried
                self.records += batch.num_rows
        return Put(self.records, self.bytes, self.retried)

    def _records(self, batch: pa.RecordBatch) -> list[Record]:
        columns = {name: batch.column(name).to_pylist() for name in batch.schema.names}
        count = batch.num_rows
        keys = columns.get("partitionKey") or [f"{random.getrandbits(64):016x}" for _ in range(count)]
        hashes = columns.get("explicitHashKey") or [None] * count
        lanes = self._options.requests_in_flight
        records = []
        for data, key, hash_key in zip(columns["data"], keys, hashes, strict=True):
            value = data.encode() if isinstance(data, str) else data
            name = b"" if key is None else key.encode()
            size = 0 if value is None else len(value) + len(name)
            if value is None or key is None or not 1 <= len(key) <= 256 or size > self._options.record_bytes:
                raise PutError(_what_is_wrong(value, key, size, self._options.record_bytes))
            request = b'{"Data":"%b","PartitionKey":%b' % (b2a_base64(value, newline=False), orjson.dumps(key))
            if hash_key is not None:
                if not (hash_key.isascii() and hash_key.isdigit() and int(hash_key) < _HASH_KEYS):
                    raise PutError(f"explicitHashKey {hash_key!r} of partitionKey {key!r} is no number below 2^128")
                request += b',"ExplicitHashKey":"%b"' % hash_key.encode()
            records.append(Record(request + b"}", size, crc32(name) % lanes))
        self.bytes += sum(record.size for record in records)
        return records

    def _put_lane(self, records: list[Record]) -> int:
        """Put records one call after the other; returns how many had to be put again."""
        return sum(self._put_call(call) for call in self._calls(records))

    def _calls(self, records: list[Record]) -> Iterator[list[Record]]:
        call: list[Record] = []
        size = 0
        for record in records:
            if call and (
                len(call) == self._options.records_per_put or size + record.size > self._options.bytes_per_put
            ):
                yield call
                call, size = [], 0
            call.append(record)
            size += record.size
        if call:
            yield call

    def _put_call(self, records: list[Record]) -> int:
        left, retried, why = records, -len(records), ""

        def attempt() -> int:
            nonlocal left, retried, why
            retried += len(left)
            answer = self._client.put_records(self._head + b",".join(r.request for r in left) + b"]}")
            if answer.get("FailedRecordCount"):
                refused = [n for n, record in enumerate(answer["Records"]) if record.get("ErrorCode")]
                first = answer["Records"][refused[0]]
                why = f"{first['ErrorCode']}: {first.get('ErrorMessage', '')}"
                left = [left[n] for n in refused]
                return len(left)
            return 0

        retrying = Retrying(
            retry=retry_if_result(bool),
            stop=stop_after_delay(self._options.patience_seconds),
            wait=wait_random_exponential(multiplier=0.1, max=5.0),
            retry_error_callback=lambda _: -1,
        )
        if retrying(attempt):
            raise PutError(
                f"{len(left)} records were still refused by {self._options.stream.name} after "
                f"{self._options.patience_seconds:.0f} s ({why}): the stream has too few shards for this rate; reshard "
                "it, write with fewer tasks, or raise patienceSeconds. What was put stays, and a retry puts it again"
            )
        return retried


def _what_is_wrong(value: bytes | None, key: str | None, size: int, limit: int) -> str:
    if key is None:
        return "a row has no partitionKey: fill it, or drop the column, and random keys spread the rows"
    if value is None:
        return f"the row of partitionKey {key!r} has no data: filter such rows out, or encode what they mean"
    if not 1 <= len(key) <= 256:
        return f"partitionKey {key[:40]!r} has {len(key)} characters; Kinesis takes 1 to 256"
    return (
        f"the row of partitionKey {key!r} has {size} bytes with its key, and maxRecordBytes is {limit}: keep large "
        "data elsewhere and put a reference, or raise the option where the stream allows larger records"
    )


class _Writing:
    """What batch and streaming writes share."""

    def __init__(self, options: PutOptions, schema: StructType) -> None:
        check_columns(schema)
        self._options = options

    def write(self, iterator: Iterator[pa.RecordBatch]) -> Put:
        """Put the rows of one task; a task that fails leaves behind what it put, and its retry puts it again."""
        options = self._options
        return Putter(options, shared_client(options.region, options.endpoint_url, options.identity)).put(iterator)

    def _tell(self, messages: Sequence[Any], how: str) -> None:
        done = [message for message in messages if isinstance(message, Put)]
        logging.getLogger(__name__).info(
            "%s: %d records, %d bytes into %s, %d put again", how, sum(p.records for p in done),
            sum(p.bytes for p in done), self._options.stream.name, sum(p.retried for p in done),
        )  # fmt: skip


class KinesisWriter(_Writing, DataSourceArrowWriter):
    """A batch write, at least once: what fails half-way leaves behind what it put."""

    def commit(self, messages: list[WriterCommitMessage | None]) -> None:
        self._tell(messages, "written")

    def abort(self, messages: list[WriterCommitMessage | None]) -> None:
        self._tell(messages, "aborted, but in the stream")


class KinesisStreamWriter(_Writing, DataSourceStreamArrowWriter):
    """A streaming write, at least once: a micro-batch that is replayed is put again."""

    def commit(self, messages: list[WriterCommitMessage | None], batchId: int) -> None:  # noqa: N803 (Spark's name)
        self._tell(messages, f"batch {batchId} written")

    def abort(self, messages: list[WriterCommitMessage | None], batchId: int) -> None:  # noqa: N803 (Spark's name)
        self._tell(messages, f"batch {batchId} aborted, but in the stream")
