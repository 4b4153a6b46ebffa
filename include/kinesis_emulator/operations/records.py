"""The operations that write and read records."""

import math
from datetime import datetime, timezone
from typing import Any

import orjson

from kinesis_emulator.errors import KinesisError, dry_run, invalid, missing, not_found, violated
from kinesis_emulator.operations.positions import check_ordering, start_index
from kinesis_emulator.service.tokens import decoded, encoded
from kinesis_emulator.state import Request, State
from kinesis_emulator.state.shard import MAX_RECORDS, MAX_RESPONSE_BYTES, Shard, data_size
from kinesis_emulator.state.stream import Stream

Answer = dict[str, Any] | bytes
MAX_PUT_BYTES = 10 * 1024 * 1024
"""Of data and partition keys in one call of PutRecords (API reference)."""


class RecordOperations:
    """Records are put, and read by iterators."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.operations = {
            "PutRecord": self.put_record,
            "PutRecords": self.put_records,
            "GetShardIterator": self.get_shard_iterator,
            "GetRecords": self.get_records,
        }

    def put_record(self, request: Request) -> Answer:
        """PutRecord."""
        stream = self._state.writable(request, "PutRecord")
        size = _checked_size(stream, request, stream.max_record_bytes)
        if (number := request.get("SequenceNumberForOrdering")) is not None:
            check_ordering(stream, number, "PutRecord")
        shard = stream.route(request.get("PartitionKey"), request.get("ExplicitHashKey"))
        if request.get("DryRun"):
            raise dry_run()
        if self._state.options.limits:
            shard.limits.write(size, self._state.clock())
        sequence = self._state.append(stream, [(shard, request)])[0]
        kind = stream.encryption["EncryptionType"]
        return {"ShardId": shard.shard_id, "SequenceNumber": str(sequence), "EncryptionType": kind}

    def put_records(self, request: Request) -> Answer:
        """PutRecords."""
        stream = self._state.writable(request, "PutRecords")
        records = request["Records"]
        most = stream.max_record_bytes
        sizes = [_checked_size(stream, record, most, n) for n, record in enumerate(records, 1)]
        if sum(sizes) > MAX_PUT_BYTES:
            raise invalid(f"Records size exceeds {MAX_PUT_BYTES} bytes")
        route = stream.route
        shards = [route(record.get("PartitionKey"), record.get("ExplicitHashKey")) for record in records]
        if request.get("DryRun"):
            raise dry_run()
        throttled = self._throttled(shards, sizes) if self._state.options.limits else {}
        accepted = [one for n, one in enumerate(zip(shards, records, strict=True)) if n not in throttled]
        sequences = self._state.append(stream, accepted)
        answers = [
            {"ShardId": shard.shard_id, "SequenceNumber": str(sequence)}
            for (shard, _), sequence in zip(accepted, sequences, strict=True)
        ]
        for n, error in throttled.items():  # in order, so that each comes to its place
            answers.insert(n, {"ErrorCode": error.code, "ErrorMessage": str(error)})
        kind = stream.encryption["EncryptionType"]
        return {"FailedRecordCount": len(throttled), "Records": answers, "EncryptionType": kind}

    def get_shard_iterator(self, request: Request) -> Answer:
        """GetShardIterator."""
        stream = self._state.stream(request, "GetShardIterator")
        shard = stream.shard(request["ShardId"])
        number, timestamp = request.get("StartingSequenceNumber"), request.get("Timestamp")
        kind, now = request["ShardIteratorType"], math.ceil(self._state.clock() * 1000)
        index = start_index(stream, shard, kind, number, timestamp, now, "GetShardIterator")
        if request.get("DryRun"):
            raise dry_run()
        return {"ShardIterator": self._iterator(stream, shard, index)}

    def get_records(self, request: Request) -> Answer:
        """GetRecords."""
        stream, shard, index = self._place(request)
        limit = int(request.get("Limit") or MAX_RECORDS)
        if request.get("DryRun"):
            raise dry_run()
        now, limited = self._state.clock(), self._state.options.limits
        if limited:
            shard.limits.call_read(now)
        fragments, end, size = shard.read(index, limit, MAX_RESPONSE_BYTES)
        if limited:
            # What neither the limit nor the tip ended was ended by its size.
            full = size >= MAX_RESPONSE_BYTES or (len(fragments) < limit and end < shard.end)
            shard.limits.read(size, full, now)
        self._state.records_out += len(fragments)
        answer: dict[str, Any] = {"MillisBehindLatest": shard.behind_ms(end, now * 1000)}
        if shard.open or end < shard.end:
            answer["NextShardIterator"] = self._iterator(stream, shard, end)
        else:
            answer["ChildShards"] = [
                child_described(stream.shards[child]) for child in shard.children if child in stream.shards
            ]
        return b'{"Records":[' + b",".join(fragments) + b"]," + orjson.dumps(answer)[1:]

    def _throttled(self, shards: list[Shard], sizes: list[int]) -> dict[int, KinesisError]:
        """The records, by place in the request, that their shards do not take now."""
        now, throttled = self._state.clock(), {}
        for n, (shard, size) in enumerate(zip(shards, sizes, strict=True)):
            try:
                shard.limits.write(size, now)
            except KinesisError as error:
                throttled[n] = error
        return throttled

    def _iterator(self, stream: Stream, shard: Shard, index: int) -> str:
        return encoded([stream.name, stream.identity, shard.shard_id, index, float(self._state.clock())])

    def _place(self, request: Request) -> tuple[Stream, Shard, int]:
        """Where an iterator stands."""
        malformed = invalid("Invalid ShardIterator.")
        name, identity, shard_id, index, made = decoded(request["ShardIterator"], malformed, str, int, str, int, float)
        if made < 0:
            raise malformed
        now, seconds = self._state.clock(), self._state.options.iterator_seconds
        if now - made > seconds:
            raise KinesisError(
                "ExpiredIteratorException",
                f"Iterator expired. The iterator was created at time {_utc(made)} while right now it is {_utc(now)} "
                f"which is further in the future than the tolerated delay of {round(seconds * 1000)} milliseconds.",
            )
        stream = self._state.stream({"StreamName": name, "StreamARN": request.get("StreamARN")}, "GetRecords")
        if stream.identity != identity:
            raise not_found(f"Stream {name}, deleted and created again since this iterator was made,")
        return stream, stream.shard(shard_id), index


def child_described(shard: Shard) -> dict[str, Any]:
    """A shard as in ChildShards, with which a parent ends."""
    parents = [parent for parent in (shard.parent, shard.adjacent_parent) if parent]
    return {"ShardId": shard.shard_id, "ParentShards": parents, "HashKeyRange": shard.describe()["HashKeyRange"]}


def _checked_size(stream: Stream, record: Request, most: int, number: int | None = None) -> int:
    """Bytes of data and partition key, at most ``most``; ``number`` is the record's within the request."""
    key, size = record.get("PartitionKey"), data_size(record["Data"])
    if key is not None:
        size += len(key.encode())
    elif stream.strategy != "AUTO":
        raise missing(f"{_at(number)}partitionKey")
    if size > most:
        raise violated([(f"{_at(number)}data", "", f"Member must have length less than or equal to {most}")])
    return size


def _at(number: int | None) -> str:
    return "" if number is None else f"records.{number}.member."


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%a %b %d %H:%M:%S UTC %Y")
