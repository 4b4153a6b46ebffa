"""Putting Arrow batches of rows into streams, by several PutRecords calls at a time, in the order of each key."""

import logging
import random
import re
import sys
import threading
from binascii import b2a_base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql.datasource import WriterCommitMessage
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_random_exponential

from pyspark_kinesis.api.client import KinesisClient
from pyspark_kinesis.errors import KinesisSourceError
from pyspark_kinesis.options.put import PutOptions
from pyspark_kinesis.options.stream import STREAM_NAME, Stream

_KEY_CHARACTERS = 256
_HASH_KEY = re.compile(r"0|[1-9][0-9]{0,38}")
_HASH_KEYS = 2**128
_TOO_FAST = "ProvisionedThroughputExceededException"

# One record as it goes into a request, and its size as the API counts it.
_Record = tuple[bytes, int]


class PutError(KinesisSourceError):
    """Records could not be put; the message says which or how many, why, and what to do."""


@dataclass(frozen=True)
class Put(WriterCommitMessage):
    """What one task put: records, their bytes, and how many were refused and put again, each time counted."""

    records: int
    bytes: int
    retried: int


class Putter:
    """Puts the rows of one task, each at least once.

    Each partition key belongs to one of ``requests_in_flight`` lanes. A lane's calls follow one another, and a call is
    made only when every record of the call before it was accepted. So what is put by a later call of a key comes after
    what was put by an earlier one. Within a call the API promises no order; in particular, records that it refused come
    after those of the same key that it took. A call whose answer was lost is made again as a whole.
    """

    def __init__(self, options: PutOptions, client: KinesisClient) -> None:
        self._options = options
        self._client = client
        self._accepted: list[Put] = []  # a call's each; appending is all that the lanes share
        self._failed = threading.Event()

    def put(self, batches: Iterator[pa.RecordBatch]) -> Put:
        """Put all rows, each batch checked as a whole before any of it is put.

        Raises PutError for rows that Kinesis would refuse, and for records that it still refuses after
        ``patience_seconds``; the client's errors otherwise. What was put by then stays, and a note says how much.
        """
        try:
            with ThreadPoolExecutor(self._options.requests_in_flight) as pool:
                for batch in batches:
                    for _ in pool.map(self._put_lane, self._lanes(batch)):
                        pass
        except Exception as error:
            note = f"Put before that, and still in the stream: {self._total().records} records of this task"
            if sys.version_info >= (3, 11):
                error.add_note(note)
            else:  # errors have no notes there, and what is in the stream must be said all the same
                logging.getLogger(__name__).error("%s", note)
            raise
        return self._total()

    def _total(self) -> Put:
        done = list(self._accepted)
        return Put(sum(p.records for p in done), sum(p.bytes for p in done), sum(p.retried for p in done))

    def _lanes(self, batch: pa.RecordBatch) -> list[dict[str | None, list[_Record]]]:
        """The rows of a batch as records by lane and stream, in order. Raises PutError for what cannot be put."""
        lanes: list[dict[str | None, list[_Record]]] = [{} for _ in range(self._options.requests_in_flight)]
        rows = batch.num_rows
        columns = {name: batch.column(name) for name in batch.schema.names}
        streams = columns["streamName"].to_pylist() if "streamName" in columns else [None] * rows
        hash_keys = columns["explicitHashKey"].to_pylist() if "explicitHashKey" in columns else [None] * rows
        if (keys := columns.get("partitionKey")) is None:
            keys = pa.array([f"{random.getrandbits(64):016x}" for _ in range(rows)], pa.string())
        data = columns["data"].cast(pa.large_binary())
        sizes = pc.add(pc.binary_length(data), pc.cast(pc.binary_length(keys), pa.int64()))
        if wrong := self._bad_row(data, keys, sizes) or self._bad_stream(streams) or _bad_hash_key(hash_keys):
            row, what = wrong
            named = "partitionKey" in columns and keys[row].is_valid
            who = f"the row of partitionKey {keys[row].as_py()[:60]!r}" if named else f"row {row} of an Arrow batch"
            raise PutError(f"{who} {what}")
        for value, key, size, stream, hash_key in zip(
            data.to_pylist(), keys.to_pylist(), sizes.to_pylist(), streams, hash_keys, strict=True
        ):
            name = orjson.dumps(key)
            request = b'{"Data":"%b","PartitionKey":%b' % (b2a_base64(value, newline=False), name)
            if hash_key is not None:
                request += b',"ExplicitHashKey":"%b"' % hash_key.encode()
            lanes[crc32(name) % len(lanes)].setdefault(stream, []).append((request + b"}", size))
        return lanes

    def _bad_row(self, data: pa.Array, keys: pa.Array, sizes: pa.Array) -> tuple[int, str] | None:
        """The first row whose data or key is wrong, and what is."""
        most, characters = self._options.record_bytes, pc.utf8_length(keys)
        short = pc.and_(pc.greater(characters, 0), pc.less_equal(characters, _KEY_CHARACTERS))
        good = pc.fill_null(pc.and_(pc.less_equal(sizes, most), short), False)
        row = pc.index(good, False).as_py()
        if row < 0:
            return None
        if not keys[row].is_valid:
            return row, "has no partitionKey: fill it, or drop the column, and random keys spread the rows"
        if not short[row].as_py():
            return row, f"has a key of {characters[row]} characters; Kinesis takes 1 to {_KEY_CHARACTERS}: shorten it"
        if not data[row].is_valid:
            return row, "has no data: filter such rows out, or encode what they mean"
        return row, (
            f"has {sizes[row]} bytes with its key, and maxRecordBytes is {most}: keep large data elsewhere and put a "
            "reference, or raise the option where the stream allows larger records"
        )

    def _bad_stream(self, streams: list[str | None]) -> tuple[int, str] | None:
        for name in set(streams):
            if name is None and self._options.stream is None:
                what = "has no streamName: fill it, or set the option streamName, which nulls then stand for"
                return streams.index(name), what
            if name is not None and not STREAM_NAME.fullmatch(name):
                what = f"has the streamName {name[:140]!r}: a name has 1 to 128 letters, digits, '_', '-' and '.'"
                return streams.index(name), what
        return None

    def _put_lane(self, lane: dict[str | None, list[_Record]]) -> None:
        try:
            for name, records in lane.items():
                stream = Stream(name) if name is not None else self._options.stream
                assert stream is not None
                for call in self._calls(records):
                    if self._failed.is_set():  # by another lane: the task is lost, and its retry puts all again
                        return
                    self._put_call(stream, call)
        except BaseException:
            self._failed.set()
            raise

    def _calls(self, records: list[_Record]) -> Iterator[list[_Record]]:
        """Records in portions that one PutRecords call may hold."""
        most, most_bytes = self._options.records_per_put, self._options.bytes_per_put
        start = total = 0
        for at, (_, size) in enumerate(records):
            if at > start and (at - start == most or total + size > most_bytes):
                yield records[start:at]
                start, total = at, 0
            total += size
        if records:
            yield records[start:]

    def _put_call(self, stream: Stream, records: list[_Record]) -> None:
        """One call, and those that put again what it refused. Raises PutError when patience ends."""
        head = orjson.dumps(stream.arguments)[:-1] + b',"Records":['
        left, retried, refusal = records, 0, {}

        def attempt() -> bool:
            """Whether records were refused; those are left."""
            nonlocal left, retried, refusal
            answer = self._client.put_records(head + b",".join([request for request, _ in left]) + b"]}")
            results: list[dict[str, Any]] = answer.get("Records", [])
            if len(results) != len(left):
                raise PutError(
                    f"PutRecords of {len(left)} records answered for {len(results)}, so which were stored cannot be "
                    "known: is endpointUrl a Kinesis endpoint?"
                )
            refused = [n for n, result in enumerate(results) if result.get("ErrorCode")]
            if not refused:
                return False
            refusal = results[refused[0]]
            self._accept([record for record, result in zip(left, results, strict=True) if not result.get("ErrorCode")])
            left = [left[n] for n in refused]
            retried += len(left)
            return True

        retrying = Retrying(
            retry=retry_if_result(bool),
            stop=stop_after_delay(self._options.patience_seconds),
            wait=wait_random_exponential(multiplier=0.1, max=5.0),
            retry_error_callback=lambda _: True,
        )
        if retrying(attempt):
            raise PutError(self._gave_up(stream, len(left), refusal))
        self._accept(left, retried)

    def _accept(self, records: list[_Record], retried: int = 0) -> None:
        self._accepted.append(Put(len(records), sum(size for _, size in records), retried))

    def _gave_up(self, stream: Stream, number: int, refusal: dict[str, Any]) -> str:
        code = refusal["ErrorCode"]
        remedy = "Kinesis fails to store them: try again later, or raise patienceSeconds"
        if code == _TOO_FAST:
            remedy = (
                "its shards take less than is written: reshard it, write with fewer tasks, or raise patienceSeconds"
            )
        return (
            f"{number} records were still refused by {stream.name} after {self._options.patience_seconds:g} s "
            f"({code}: {refusal.get('ErrorMessage', '')}): {remedy}. What was put stays, and a retry puts it again"
        )


def _bad_hash_key(hash_keys: list[str | None]) -> tuple[int, str] | None:
    for row, hash_key in enumerate(hash_keys):
        if hash_key is not None and (not _HASH_KEY.fullmatch(hash_key) or int(hash_key) >= _HASH_KEYS):
            return row, (
                f"has the explicitHashKey {hash_key[:60]!r}, which is not a decimal number below 2^128 without leading "
                "zeros: correct it, or leave it null, and the partition key decides"
            )
    return None
