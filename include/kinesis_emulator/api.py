"""The operations of the Kinesis API on the emulator's state; each takes the request's JSON and gives the answer's."""

import base64
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from kinesis_emulator.consumers import Consumers
from kinesis_emulator.errors import KinesisError, invalid, not_found
from kinesis_emulator.journal import Journal
from kinesis_emulator.model import (
    MAX_RECORDS,
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
    hour_seconds: float = 3600
    max_record_bytes: int = 1024 * 1024
    limits: bool = False
    access_key: str | None = None
    secret_key: str | None = None
    data_dir: Path | None = None


class Kinesis:
    """All streams of the emulator. Not thread-safe: one event loop calls it."""

    def __init__(self, options: Options, clock: Callable[[], float] = time.time) -> None:
        self.options = options
        self._clock = clock
        self._streams: dict[str, Stream] = {}
        self._journal = Journal(options.data_dir)
        self._consumers = Consumers(clock)
        self.records_in = 0
        self.records_out = 0
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
            "RegisterStreamConsumer": self.register_consumer,
            "DeregisterStreamConsumer": self.deregister_consumer,
            "DescribeStreamConsumer": self.describe_consumer,
            "ListStreamConsumers": self.list_consumers,
        }
        for entry in self._journal.replay():
            # An entry that was refused when it was made is refused again.
            with suppress(KinesisError):
                self._redo(entry)

    def create_stream(self, request: Request) -> Answer:
        name = str(request.get("StreamName") or "")
        if not re.fullmatch(r"[a-zA-Z0-9_.-]{1,128}", name):
            raise KinesisError("ValidationException", f"StreamName {name!r} must match [a-zA-Z0-9_.-]{{1,128}}")
        mode = (request.get("StreamModeDetails") or {}).get("StreamMode", "PROVISIONED")
        shards = request.get("ShardCount", 4 if mode == "ON_DEMAND" else None)
        if not isinstance(shards, int) or shards < 1:
            raise KinesisError("ValidationException", f"ShardCount must be 1 or more, but is {shards}")
        if name in self._streams:
            raise KinesisError("ResourceInUseException", f"Stream {name} already exists")
        self._apply({"op": "create", "stream": name, "shards": shards, "mode": mode, "ms": self._ms()})
        return {}

    def delete_stream(self, request: Request) -> Answer:
        stream = self._stream(request)
        self._apply({"op": "delete", "stream": stream.name})
        self._consumers.forget(stream.arn)
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
        counts = {"OpenShardCount": len(stream.open_shards), "ConsumerCount": len(self._consumers.of(stream.arn))}
        return {"StreamDescriptionSummary": {**self._summary(stream), **counts}}

    def list_streams(self, request: Request) -> Answer:
        after = request.get("ExclusiveStartStreamName") or ""
        if token := request.get("NextToken"):
            (after,) = _decoded(token, "ExpiredNextTokenException")
        names = sorted(name for name in self._streams if name > after)
        limit = int(request.get("Limit") or 100)
        answer: dict[str, Any] = {"StreamNames": names[:limit], "HasMoreStreams": len(names) > limit}
        if len(names) > limit:
            answer["NextToken"] = _encoded([names[limit - 1]])
        return answer

    def list_shards(self, request: Request) -> Answer:
        after, chosen = request.get("ExclusiveStartShardId"), request.get("ShardFilter") or {}
        if token := request.get("NextToken"):
            if request.get("StreamName"):
                raise invalid("NextToken and StreamName cannot be provided together.")
            name, after, chosen = _decoded(token, "ExpiredNextTokenException")
            request = {"StreamName": name}
        stream = self._stream(request)
        milliseconds = round(float(chosen.get("Timestamp") or 0) * 1000)
        shards = stream.filtered(chosen.get("Type"), milliseconds, chosen.get("ShardId") or "", self._ms())
        shards = [shard for shard in shards if after is None or shard.shard_id > after]
        limit = int(request.get("MaxResults") or 1000)
        answer: dict[str, Any] = {"Shards": [shard.describe() for shard in shards[:limit]]}
        if len(shards) > limit:
            # A page is named by its last shard: offsets would skip one where a split closes another in between.
            answer["NextToken"] = _encoded([stream.name, shards[limit - 1].shard_id, chosen])
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
                "ValidationException",
                f"Records must have length between 1 and {MAX_PUT_RECORDS}, but has {len(records)}",
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
            index = shard.end
        elif kind in ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"):
            text = str(request.get("StartingSequenceNumber"))
            if not text.isdigit() or int(text) < shard.start_sequence:
                raise invalid(
                    f"StartingSequenceNumber {text} used in GetShardIterator on shard {shard.shard_id} is invalid"
                )
            index = shard.index_at(int(text)) if kind.startswith("AT") else shard.index_after(int(text))
        elif kind == "AT_TIMESTAMP":
            index = shard.index_at_time(round(float(request["Timestamp"]) * 1000))
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
        fragments, end = shard.read(index, limit)
        if self.options.limits:
            shard.read_bytes.use(now, sum(map(len, fragments)))
        self.records_out += len(fragments)
        answer: dict[str, Any] = {"MillisBehindLatest": shard.behind_ms(end, now * 1000)}
        if shard.open or end < shard.end:
            answer["NextShardIterator"] = self._iterator(stream, shard, end)
        else:
            answer["ChildShards"] = [_child(stream.shards[child]) for child in shard.children]
        return b'{"Records":[' + b",".join(fragments) + b"]," + orjson.dumps(answer)[1:]

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
        counts = {"CurrentShardCount": current, "TargetShardCount": target}
        return {"StreamName": stream.name, "StreamARN": stream.arn, **counts}

    def set_retention(self, request: Request) -> Answer:
        stream, hours = self._stream(request), int(request["RetentionPeriodHours"])
        if not 24 <= hours <= 8760:
            raise invalid(f"RetentionPeriodHours must be between 24 and 8760, but is {hours}")
        self._apply({"op": "retention", "stream": stream.name, "hours": hours})
        return {}

    def add_tags(self, request: Request) -> Answer:
        self._apply({"op": "tags", "stream": self._stream(request).name, "tags": request.get("Tags") or {}})
        return {}

    def register_consumer(self, request: Request) -> Answer:
        stream = self._active(request)
        return {"Consumer": self._consumers.register(stream.arn, request["ConsumerName"])}

    def deregister_consumer(self, request: Request) -> Answer:
        stream_arn, consumer = self._consumers.find(request)
        del self._consumers.of(stream_arn)[consumer["ConsumerName"]]
        return {}

    def describe_consumer(self, request: Request) -> Answer:
        stream_arn, consumer = self._consumers.find(request)
        return {"ConsumerDescription": {**consumer, "StreamARN": stream_arn}}

    def list_consumers(self, request: Request) -> Answer:
        return {"Consumers": list(self._consumers.of(self._stream(request).arn).values())}

    def list_tags(self, request: Request) -> Answer:
        tags = self._stream(request).tags
        return {"Tags": [{"Key": k, "Value": v} for k, v in sorted(tags.items())], "HasMoreTags": False}

    def _append(self, stream: Stream, records: list[tuple[Shard, Request]]) -> list[int]:
        now, first = self._ms(), stream.next_sequence
        entries = [
            {"op": "put", "stream": stream.name, "shard": shard.shard_id, "seq": str(first + n), "ms": now,
             "data": record["Data"], "key": record["PartitionKey"]}
            for n, (shard, record) in enumerate(records)
        ]  # fmt: skip
        # On disk before it can be read: what a reader saw must not vanish at a restart.
        self._journal.add(entries)
        self.records_in += len(records)
        return [stream.append(shard, record["Data"], record["PartitionKey"], now) for shard, record in records]

    def _checked_size(self, record: Request) -> int:
        key = record.get("PartitionKey")
        if not isinstance(key, str) or not 1 <= len(key) <= 256:
            raise KinesisError("ValidationException", "PartitionKey must have a length between 1 and 256")
        if not isinstance(record.get("Data"), str):
            raise KinesisError("SerializationException", "Data must be base64 text")
        size = base64_size(record["Data"]) + len(key.encode())
        if size > self.options.max_record_bytes:
            raise KinesisError(
                "ValidationException",
                f"Data and PartitionKey have {size} bytes; at most {self.options.max_record_bytes}",
            )
        return size

    def _apply(self, entry: dict[str, Any]) -> None:
        self._journal.add([entry])
        self._redo(entry)

    def _redo(self, entry: dict[str, Any]) -> None:
        name = entry["stream"]
        match entry["op"]:
            case "create":
                arn = f"arn:aws:kinesis:{self.options.region}:000000000000:stream/{name}"
                active = entry["ms"] + self.options.create_milliseconds
                self._streams[name] = Stream(
                    name, arn, entry["shards"], entry["ms"], active, entry.get("mode", "PROVISIONED")
                )
                self._streams[name].hour_ms = self.options.hour_seconds * 1000
            case "delete":
                del self._streams[name]
            case "put":
                stream = self._streams[name]
                stream.append(stream.shard(entry["shard"]), entry["data"], entry["key"], entry["ms"], int(entry["seq"]))
            case "split":
                self._streams[name].split(entry["shard"], entry["start"], entry["ms"])
            case "merge":
                self._streams[name].merge(entry["shards"][0], entry["shards"][1], entry["ms"])
            case "retention":
                self._streams[name].retention_hours = entry["hours"]
            case "tags":
                self._streams[name].tags.update(entry["tags"])
            case "resize":
                self._streams[name].resize(entry["target"], entry["ms"])

    def _ms(self) -> float:
        # Whole milliseconds, as answers show them: AT_TIMESTAMP with a record's own arrival must begin with it.
        return float(int(self._clock() * 1000))

    def _stream(self, request: Request) -> Stream:
        name = request.get("StreamName")
        if not name and request.get("StreamARN"):
            name = str(request["StreamARN"]).rsplit("/", 1)[-1]
        if not name:
            raise invalid("Either StreamName or StreamARN must be provided")
        if name not in self._streams:
            raise not_found(f"Stream {name} under account 000000000000")
        stream = self._streams[name]
        stream.trim(self._ms())
        return stream

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


def _encoded(values: list[Any]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(values)).decode()


def _decoded(token: str, code: str) -> list[Any]:
    try:
        values: list[Any] = orjson.loads(base64.urlsafe_b64decode(token))
    except ValueError as error:
        raise KinesisError(code, "the token is malformed") from error
    return values
