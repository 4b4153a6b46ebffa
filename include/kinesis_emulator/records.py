"""The operations that write and read records; each takes the request's JSON and gives the answer's."""

from typing import Any

import orjson

from kinesis_emulator.errors import KinesisError, invalid, not_found
from kinesis_emulator.model import MAX_RECORDS, MAX_RESPONSE_BYTES, Shard, Stream, base64_size
from kinesis_emulator.state import Request, State
from kinesis_emulator.tokens import decoded, encoded

Answer = dict[str, Any] | bytes
MAX_PUT_RECORDS = 500
MAX_PUT_BYTES = 5 * 1024 * 1024


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
        stream = self._state.active(request)
        size = self._checked_size(request)
        shard = stream.route(request["PartitionKey"], request.get("ExplicitHashKey"))
        if self._state.options.limits:
            shard.limits.write(size, self._state.clock())
        sequence = self._state.append(stream, [(shard, request)])[0]
        return {"ShardId": shard.shard_id, "SequenceNumber": str(sequence)}

    def put_records(self, request: Request) -> Answer:
        """PutRecords."""
        stream = self._state.active(request)
        records = request.get("Records") or []
        if not 1 <= len(records) <= MAX_PUT_RECORDS:
            raise KinesisError(
                "ValidationException",
                f"Records must have length between 1 and {MAX_PUT_RECORDS}, but has {len(records)}",
            )
        sizes = [self._checked_size(record) for record in records]
        if sum(sizes) > MAX_PUT_BYTES:
            raise invalid(f"Records size exceeds {MAX_PUT_BYTES} bytes")
        answers: list[dict[str, str]] = []
        accepted: list[tuple[Shard, Request]] = []
        now = self._state.clock()
        for record, size in zip(records, sizes, strict=True):
            shard = stream.route(record["PartitionKey"], record.get("ExplicitHashKey"))
            try:
                if self._state.options.limits:
                    shard.limits.write(size, now)
            except KinesisError as error:
                answers.append({"ErrorCode": error.code, "ErrorMessage": str(error)})
                continue
            accepted.append((shard, record))
            answers.append({"ShardId": shard.shard_id})
        sequences = iter(self._state.append(stream, accepted))
        for answer in answers:
            if "ShardId" in answer:
                answer["SequenceNumber"] = str(next(sequences))
        return {"FailedRecordCount": len(records) - len(accepted), "Records": answers, "EncryptionType": "NONE"}

    def get_shard_iterator(self, request: Request) -> Answer:
        """GetShardIterator."""
        stream = self._state.stream(request)
        shard = stream.shard(request["ShardId"])
        sequence, timestamp = request.get("StartingSequenceNumber"), request.get("Timestamp")
        index = start_index(shard, request.get("ShardIteratorType"), sequence, timestamp)
        return {"ShardIterator": self._iterator(stream, shard, index)}

    def get_records(self, request: Request) -> Answer:
        """GetRecords."""
        token = request.get("ShardIterator") or ""
        name, generation, shard_id, index, made = decoded(token, "InvalidArgumentException", 5)
        now = self._state.clock()
        if now - made > self._state.options.iterator_seconds:
            raise KinesisError("ExpiredIteratorException", f"Iterator expired: it was created at {made}")
        stream = self._state.stream({"StreamName": name})
        if stream.generation != generation:
            raise not_found(f"Stream {name}, deleted and created again since this iterator was made,")
        shard = stream.shard(shard_id)
        limit = int(request.get("Limit") or MAX_RECORDS)
        if not 1 <= limit <= MAX_RECORDS:
            raise KinesisError("ValidationException", f"Limit must be between 1 and {MAX_RECORDS}, but is {limit}")
        limited = self._state.options.limits
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
            answer["ChildShards"] = [child_described(stream.shards[child]) for child in shard.children]
        return b'{"Records":[' + b",".join(fragments) + b"]," + orjson.dumps(answer)[1:]

    def _checked_size(self, record: Request) -> int:
        key = record.get("PartitionKey")
        if not isinstance(key, str) or not 1 <= len(key) <= 256:
            raise KinesisError("ValidationException", "PartitionKey must have a length between 1 and 256")
        if not isinstance(record.get("Data"), str):
            raise KinesisError("SerializationException", "Data must be base64 text")
        size = base64_size(record["Data"]) + len(key.encode())
        if size > self._state.options.max_record_bytes:
            raise KinesisError(
                "ValidationException",
                f"Data and PartitionKey have {size} bytes; at most {self._state.options.max_record_bytes}",
            )
        return size

    def _iterator(self, stream: Stream, shard: Shard, index: int) -> str:
        return encoded([stream.name, stream.generation, shard.shard_id, index, self._state.clock()])


def start_index(shard: Shard, kind: str | None, sequence: str | None, timestamp: float | None) -> int:
    """Index of the first record of a starting position (API reference, ShardIteratorType and StartingPosition).

    Raises:
        KinesisError: InvalidArgumentException for a number before the shard's, ValidationException for another type.
    """
    match kind:
        case "TRIM_HORIZON":
            return 0
        case "LATEST":
            return shard.end
        case "AT_SEQUENCE_NUMBER" | "AFTER_SEQUENCE_NUMBER":
            text = str(sequence)
            if not text.isdigit() or int(text) < shard.start_sequence:
                raise invalid(f"Starting sequence number {text} is invalid on shard {shard.shard_id}")
            return shard.index_at(int(text)) if kind == "AT_SEQUENCE_NUMBER" else shard.index_after(int(text))
        case "AT_TIMESTAMP":
            if timestamp is None:
                raise invalid("AT_TIMESTAMP needs a Timestamp")
            return shard.index_at_time(round(float(timestamp) * 1000))
        case _:
            raise KinesisError("ValidationException", f"Starting position {kind!r} is not one of the enum values")


def child_described(shard: Shard) -> dict[str, Any]:
    """A shard as in ChildShards, with which a parent ends."""
    parents = [parent for parent in (shard.parent, shard.adjacent_parent) if parent]
    return {"ShardId": shard.shard_id, "ParentShards": parents, "HashKeyRange": shard.describe()["HashKeyRange"]}
