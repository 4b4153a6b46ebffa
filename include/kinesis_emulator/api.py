"""The operations of the Kinesis API on the emulator's state; each takes the request's JSON and gives the answer's."""

import base64
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from kinesis_emulator.errors import KinesisError, invalid, not_found
from kinesis_emulator.journal import Journal
from kinesis_emulator.model import (
    MAX_RECORDS,
    MAX_RESPONSE_BYTES,
    Shard,
    Stream,
    base64_size,
    check_read,
    check_write,
)

Request = dict[str, Any]
Answer = dict[str, Any] | bytes
MAX_PUT_RECORDS = 500
MAX_PUT_BYTES = 5 * 1024 * 1024


@dataclass(frozen=True)
class Options:
    """What can be chosen when the emulator starts."""

    region: str = "us-east-1"
    create_milliseconds: int = 20
    iterator_seconds: float = 300
    max_record_bytes: int = 1024 * 1024
    limits: bool = False
    access_key: str | None = None
    data_dir: Path | None = None


class Kinesis:
    """All streams of the emulator. Not thread-safe: one event loop calls it."""

    def __init__(self, options: Options, clock: Callable[[], float] = time.time) -> None:
        self.options = options
        self._clock = clock
        self._streams: dict[str, Stream] = {}
        self._journal = Journal(options.data_dir)
        self.operations: dict[str, Callable[[Request], Answer]] = {
            "CreateStream": self.create_stream,
            "DeleteStream": self.delete_stream,
            "DescribeStream": self.describe_stream,
            "DescribeStreamSummary": self.describe_stream_summary,
            "ListStreams": self.list_streams,
            "ListShards": self.list_shards,
            "PutRecord": self.put_record,
            "PutRecords": self.put_records,
            "GetShardIterator": self.get_shard_iterator,
            "GetRecords": self.get_records,
            "SplitShard": self.split_shard,
            "MergeShards": self.merge_shards,
            "UpdateShardCount": self.update_shard_count,
            "IncreaseStreamRetentionPeriod": self.set_retention,
            "DecreaseStreamRetentionPeriod": self.set_retention,
            "AddTagsToStream": self.add_tags,
            "ListTagsForStream": self.list_tags,
        }
        for entry in self._journal.replay():
            self._redo(entry)

    def create_stream(self, request: Request) -> Answer:
        name = request.get("StreamName") or ""
        if not name:
            raise KinesisError("ValidationException", "StreamName must not be empty")
        if name in self._streams:
            raise KinesisError("ResourceInUseException", f"Stream {name} already exists")
        self._apply({"op": "create", "stream": name, "shards": int(request.get("ShardCount") or 4), "ms": self._ms()})
        return {}

    def delete_stream(self, request: Request) -> Answer:
        self._apply({"op": "delete", "stream": self._stream(request).name})
        return {}

    def describe_stream(self, request: Request) -> Answer:
        stream = self._stream(request)
        shards = sorted(stream.shards.values(), key=lambda shard: shard.shard_id)
        after = request.get("ExclusiveStartShardId")
        shards = [shard for shard in shards if after is None or shard.shard_id > after]
        limit = int(request.get("Limit") or 100)
        described = {**self._summary(stream), "Shards": [s.describe() for s in shards[:limit]]}
        return {"StreamDescription": {**described, "HasMoreShards": len(shards) > limit}}

    def describe_stream_summary(self, request: Request) -> Answer:
        stream = self._stream(request)
        counts = {"OpenShardCount": len(stream.open_shards), "ConsumerCount": 0}
        return {"StreamDescriptionSummary": {**self._summary(stream), **counts}}

    def list_streams(self, request: Request) -> Answer:
        after = request.get("ExclusiveStartStreamName") or ""
        names = sorted(name for name in self._streams if name > after)
        limit = int(request.get("Limit") or 100)
        return {"StreamNames": names[:limit], "HasMoreStreams": len(names) > limit}

    def list_shards(self, request: Request) -> Answer:
        offset, after, chosen = 0, request.get("ExclusiveStartShardId"), request.get("ShardFilter") or {}
        if token := request.get("NextToken"):
            if request.get("StreamName"):
                raise invalid("NextToken and StreamName cannot be provided together.")
            name, offset, after, chosen = _decoded(token, "ExpiredNextTokenException")
            request = {"StreamName": name}
        stream = self._stream(request)
        shards = sorted(_filtered(stream, chosen), key=lambda shard: shard.shard_id)
        shards = [shard for shard in shards if after is None or shard.shard_id > after]
        limit = int(request.get("MaxResults") or 1000)
        answer: dict[str, Any] = {"Shards": [shard.describe() for shard in shards[offset : offset + limit]]}
        if len(shards) > offset + limit:
            answer["NextToken"] = _encoded([stream.name, offset + limit, after, chosen])
        return answer

    def put_record(self, request: Request) -> Answer:
        stream = self._active(request)
        size = self._checked_size(request)
        shard = stream.route(request["PartitionKey"], request.get("ExplicitHashKey"))
        if self.options.limits:
            check_write(shard, size, self._clock())
        sequence = self._append(stream, [(shard, request)])[0]
        return {"ShardId": shard.shard_id, "SequenceNumber": str(sequence)}

    def put_records(self, request: Request) -> Answer:
        stream = self._active(request)
        records = request.get("Records") or []
        if not 1 <= len(records) <= MAX_PUT_RECORDS:
            raise KinesisError(
                "ValidationException", f"Records must have length between 1 and {MAX_PUT_RECORDS}, but has {len(records)}"
            )
        sizes = [self._checked_size(record) for record in records]
        if sum(sizes) > MAX_PUT_BYTES:
            raise invalid(f"Records size exceeds {MAX_PUT_BYTES} bytes")
        answers: list[dict[str, str]] = []
        accepted: list[tuple[Shard, Request]] = []
        now = self._clock()
        for record, size in zip(records, sizes, strict=True):
            shard = stream.route(record["PartitionKey"], record.get("ExplicitHashKey"))
            try:
                if self.options.limits:
                    check_write(shard, size, now)
            except KinesisError as error:
                answers.append({"ErrorCode": error.code, "ErrorMessage": str(error)})
                continue
            accepted.append((shard, record))
            answers.append({"ShardId": shard.shard_id})
        sequences = iter(self._append(stream, accepted))
        for answer in answers:
            if "ShardId" in answer:
                answer["SequenceNumber"] = str(next(sequences))
        return {"FailedRecordCount": len(records) - len(accepted), "Records": answers, "EncryptionType": "NONE"}

    def get_shard_iterator(self, request: Request) -> Answer:
        stream = self._stream(request)
        shard = stream.shard(request["ShardId"])
        kind = request.get("ShardIteratorType")
        if kind == "TRIM_HORIZON":
            index = 0
        elif kind == "LATEST":
            index = len(shard.sequences)
        elif kind in ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"):
            text = str(request.get("StartingSequenceNumber"))
            if not text.isdigit() or int(text) < shard.start_sequence:
                raise invalid(f"StartingSequenceNumber {text} used in GetShardIterator on shard {shard.shard_id} is invalid")
            index = shard.index_at(int(text)) if kind.startswith("AT") else shard.index_after(int(text))
        elif kind == "AT_TIMESTAMP":
            index = shard.index_at_time(float(request["Timestamp"]) * 1000)
        else:
            raise KinesisError("ValidationException", f"ShardIteratorType {kind!r} is not one of the enum values")
        return {"ShardIterator": self._iterator(stream, shard, index)}

    def get_records(self, request: Request) -> Answer:
        name, shard_id, index, made = _decoded(request.get("ShardIterator") or "", "InvalidArgumentException")
        now = self._clock()
        if now - made > self.options.iterator_seconds:
            raise KinesisError("ExpiredIteratorException", f"Iterator expired: it was created at {made}")
        stream = self._stream({"StreamName": name})
        shard = stream.shard(shard_id)
        limit = int(request.get("Limit") or MAX_RECORDS)
        if not 1 <= limit <= MAX_RECORDS:
            raise KinesisError("ValidationException", f"Limit must be between 1 and {MAX_RECORDS}, but is {limit}")
        if self.options.limits:
            check_read(shard, now)
        fragments = shard.fragments[index : index + limit]
        size = taken = 0
        for fragment in fragments:
            size += len(fragment)
            if size > MAX_RESPONSE_BYTES and taken:
                break
            taken += 1
        if self.options.limits:
            shard.read_bytes.use(now, size)
        end = index + taken
        behind = 0 if end >= len(shard.sequences) else max(1, int(now * 1000 - shard.arrivals_ms[end]))
        answer: dict[str, Any] = {"MillisBehindLatest": behind}
        if shard.open or end < len(shard.sequences):
            answer["NextShardIterator"] = self._iterator(stream, shard, end)
        else:
            answer["ChildShards"] = [_child(stream.shards[child]) for child in shard.children]
        return b'{"Records":[' + b",".join(fragments[:taken]) + b"]," + orjson.dumps(answer)[1:]

    def split_shard(self, request: Request) -> Answer:
        stream, shard_id = self._active(request), request["ShardToSplit"]
        start = int(request["NewStartingHashKey"])
        self._apply({"op": "split", "stream": stream.name, "shard": shard_id, "start": start, "ms": self._ms()})
        return {}

    def merge_shards(self, request: Request) -> Answer:
        stream = self._active(request)
        shards = [request["ShardToMerge"], request["AdjacentShardToMerge"]]
        self._apply({"op": "merge", "stream": stream.name, "shards": shards, "ms": self._ms()})
        return {}

    def update_shard_count(self, request: Request) -> Answer:
        stream, target = self._active(request), int(request["TargetShardCount"])
        current = len(stream.open_shards)
        if not max(1, current // 2) <= target <= current * 2:
            raise KinesisError("LimitExceededException", f"from {current} shards to {target}: half to double at a time")
        self._apply({"op": "resize", "stream": stream.name, "target": target, "ms": self._ms()})
        return {
            "StreamName": stream.name, "StreamARN": stream.arn, "CurrentShardCount": current, "TargetShardCount": target,
        }  # fmt: skip

    def set_retention(self, request: Request) -> Answer:
        self._stream(request).retention_hours = int(request["RetentionPeriodHours"])
        return {}

    def add_tags(self, request: Request) -> Answer:
        self._stream(request).tags.update(request.get("Tags") or {})
        return {}

    def list_tags(self, request: Request) -> Answer:
        tags = self._stream(request).tags
        return {"Tags": [{"Key": k, "Value": v} for k, v in sorted(tags.items())], "HasMoreTags": False}

    def _append(self, stream: Stream, records: list[tuple[Shard, Request]]) -> list[int]:
        entries, sequences, now = [], [], self._ms()
        for shard, record in records:
            data, key = record["Data"], record["PartitionKey"]
            sequences.append(stream.append(shard, data, key, now))
            entries.append(
                {"op": "put", "stream": stream.name, "shard": shard.shard_id, "seq": str(sequences[-1]), "ms": now,
                 "data": data, "key": key}
            )  # fmt: skip
        self._journal.add(entries)
        return sequences

    def _checked_size(self, record: Request) -> int:
        key = record.get("PartitionKey")
        if not isinstance(key, str) or not 1 <= len(key) <= 256:
            raise KinesisError("ValidationException", "PartitionKey must have a length between 1 and 256")
        if not isinstance(record.get("Data"), str):
            raise KinesisError("SerializationException", "Data must be base64 text")
        size = base64_size(record["Data"]) + len(key.encode())
        if size > self.options.max_record_bytes:
            raise KinesisError(
                "ValidationException", f"Data and PartitionKey have {size} bytes; at most {self.options.max_record_bytes}"
            )
        return size

    def _apply(self, entry: dict[str, Any]) -> None:
        self._redo(entry)
        self._journal.add([entry])

    def _redo(self, entry: dict[str, Any]) -> None:
        name = entry["stream"]
        match entry["op"]:
            case "create":
                arn = f"arn:aws:kinesis:{self.options.region}:000000000000:stream/{name}"
                active = entry["ms"] + self.options.create_milliseconds
                self._streams[name] = Stream(name, arn, entry["shards"], entry["ms"], active)
            case "delete":
                del self._streams[name]
            case "put":
                stream = self._streams[name]
                stream.append(stream.shard(entry["shard"]), entry["data"], entry["key"], entry["ms"], int(entry["seq"]))
            case "split":
                self._streams[name].split(entry["shard"], entry["start"], entry["ms"])
            case "merge":
                self._streams[name].merge(*entry["shards"], entry["ms"])
            case "resize":
                self._streams[name].resize(entry["target"], entry["ms"])

    def _ms(self) -> float:
        return round(self._clock() * 1000, 3)

    def _stream(self, request: Request) -> Stream:
        name = request.get("StreamName")
        if not name and request.get("StreamARN"):
            name = str(request["StreamARN"]).rsplit("/", 1)[-1]
        if not name:
            raise invalid("Either StreamName or StreamARN must be provided")
        if name not in self._streams:
            raise not_found(f"Stream {name} under account 000000000000")
        return self._streams[name]

    def _active(self, request: Request) -> Stream:
        stream = self._stream(request)
        if stream.status(self._ms()) != "ACTIVE":
            # The API answers so for a stream that is still being created.
            raise not_found(f"Active stream {stream.name} under account 000000000000")
        return stream

    def _summary(self, stream: Stream) -> dict[str, Any]:
        return {
            "StreamName": stream.name,
            "StreamARN": stream.arn,
            "StreamStatus": stream.status(self._ms()),
            "StreamModeDetails": {"StreamMode": stream.mode},
            "RetentionPeriodHours": stream.retention_hours,
            "StreamCreationTimestamp": stream.created_ms / 1000,
            "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
            "EncryptionType": "NONE",
        }

    def _iterator(self, stream: Stream, shard: Shard, index: int) -> str:
        return _encoded([stream.name, shard.shard_id, index, self._clock()])


def _child(shard: Shard) -> dict[str, Any]:
    parents = [parent for parent in (shard.parent, shard.adjacent_parent) if parent]
    described = shard.describe()
    return {"ShardId": shard.shard_id, "ParentShards": parents, "HashKeyRange": described["HashKeyRange"]}


def _filtered(stream: Stream, chosen: dict[str, Any]) -> list[Shard]:
    shards = list(stream.shards.values())
    kind = chosen.get("Type")
    if kind == "AT_LATEST":
        return [shard for shard in shards if shard.open]
    if kind == "AFTER_SHARD_ID":
        return [shard for shard in shards if shard.shard_id > chosen["ShardId"]]
    if kind == "AT_TRIM_HORIZON":
        return [shard for shard in shards if shard.parent is None]
    if kind in ("AT_TIMESTAMP", "FROM_TIMESTAMP"):
        milliseconds = float(chosen["Timestamp"]) * 1000
        return [shard for shard in shards if shard.closed_ms is None or shard.closed_ms >= milliseconds]
    return shards


def _encoded(values: list[Any]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(values)).decode()


def _decoded(token: str, code: str) -> list[Any]:
    try:
        values: list[Any] = orjson.loads(base64.urlsafe_b64decode(token))
    except ValueError as error:
        raise KinesisError(code, "the token is malformed") from error
    return values
