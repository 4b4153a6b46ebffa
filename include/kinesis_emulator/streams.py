"""The operations on streams and shards; each takes the request's JSON and gives the answer's."""

import math
import re
from typing import Any

from kinesis_emulator.errors import KinesisError, invalid
from kinesis_emulator.model import Stream
from kinesis_emulator.state import Request, State
from kinesis_emulator.tokens import decoded, encoded

Answer = dict[str, Any]


class StreamOperations:
    """Streams are made, described, resharded and deleted."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.operations = {
            "CreateStream": self.create_stream,
            "DeleteStream": self.delete_stream,
            "DescribeStream": self.describe_stream,
            "DescribeStreamSummary": self.describe_stream_summary,
            "ListStreams": self.list_streams,
            "ListShards": self.list_shards,
            "SplitShard": self.split_shard,
            "MergeShards": self.merge_shards,
            "UpdateShardCount": self.update_shard_count,
            "UpdateStreamMode": self.update_stream_mode,
            "IncreaseStreamRetentionPeriod": self.set_retention,
            "DecreaseStreamRetentionPeriod": self.set_retention,
            "AddTagsToStream": self.add_tags,
            "ListTagsForStream": self.list_tags,
        }

    def create_stream(self, request: Request) -> Answer:
        """CreateStream."""
        name = str(request.get("StreamName") or "")
        if not re.fullmatch(r"[a-zA-Z0-9_.-]{1,128}", name):
            raise KinesisError("ValidationException", f"StreamName {name!r} must match [a-zA-Z0-9_.-]{{1,128}}")
        mode = (request.get("StreamModeDetails") or {}).get("StreamMode", "PROVISIONED")
        shards = request.get("ShardCount", 4 if mode == "ON_DEMAND" else None)
        if not isinstance(shards, int) or shards < 1:
            raise KinesisError("ValidationException", f"ShardCount must be 1 or more, but is {shards}")
        if name in self._state.streams:
            raise KinesisError("ResourceInUseException", f"Stream {name} already exists")
        self._state.apply({"op": "create", "stream": name, "shards": shards, "mode": mode, "ms": self._state.ms()})
        return {}

    def delete_stream(self, request: Request) -> Answer:
        """DeleteStream: refused while consumers are registered, unless EnforceConsumerDeletion deletes them, too."""
        stream = self._state.stream(request)
        if stream.consumers and not request.get("EnforceConsumerDeletion"):
            names = ", ".join(sorted(stream.consumers))
            raise KinesisError(
                "ResourceInUseException",
                f"Stream {stream.name} has registered consumers ({names}): deregister them, or set "
                "EnforceConsumerDeletion",
            )
        self._state.apply({"op": "delete", "stream": stream.name})
        return {}

    def describe_stream(self, request: Request) -> Answer:
        """DescribeStream."""
        stream = self._state.stream(request)
        shards = sorted(stream.shards.values(), key=lambda shard: shard.shard_id)
        after = request.get("ExclusiveStartShardId")
        shards = [shard for shard in shards if after is None or shard.shard_id > after]
        limit = int(request.get("Limit") or 100)
        described = {**self._summary(stream), "Shards": [s.describe() for s in shards[:limit]]}
        return {"StreamDescription": {**described, "HasMoreShards": len(shards) > limit}}

    def describe_stream_summary(self, request: Request) -> Answer:
        """DescribeStreamSummary."""
        stream = self._state.stream(request)
        counts = {"OpenShardCount": len(stream.open_shards), "ConsumerCount": len(stream.consumers)}
        return {"StreamDescriptionSummary": {**self._summary(stream), **counts}}

    def list_streams(self, request: Request) -> Answer:
        """ListStreams."""
        after = request.get("ExclusiveStartStreamName") or ""
        if token := request.get("NextToken"):
            (after,) = decoded(token, "ExpiredNextTokenException", 1)
        names = sorted(name for name in self._state.streams if name > after)
        limit = int(request.get("Limit") or 100)
        answer: dict[str, Any] = {"StreamNames": names[:limit], "HasMoreStreams": len(names) > limit}
        if len(names) > limit:
            answer["NextToken"] = encoded([names[limit - 1]])
        return answer

    def list_shards(self, request: Request) -> Answer:
        """ListShards."""
        after, chosen = request.get("ExclusiveStartShardId"), request.get("ShardFilter") or {}
        if token := request.get("NextToken"):
            if request.get("StreamName"):
                raise invalid("NextToken and StreamName cannot be provided together.")
            name, after, chosen = decoded(token, "ExpiredNextTokenException", 3)
            request = {"StreamName": name}
        stream = self._state.stream(request)
        milliseconds = round(float(chosen.get("Timestamp") or 0) * 1000)
        shards = stream.filtered(chosen.get("Type"), milliseconds, chosen.get("ShardId") or "", self._state.ms())
        shards = [shard for shard in shards if after is None or shard.shard_id > after]
        limit = min(int(request.get("MaxResults") or 1000), self._state.options.shards_per_page)
        answer: dict[str, Any] = {"Shards": [shard.describe() for shard in shards[:limit]]}
        if len(shards) > limit:
            # A page is named by its last shard: offsets would skip one where a split closes another in between.
            answer["NextToken"] = encoded([stream.name, shards[limit - 1].shard_id, chosen])
        return answer

    def split_shard(self, request: Request) -> Answer:
        """SplitShard."""
        stream, shard_id = self._state.active(request), request["ShardToSplit"]
        start = int(request["NewStartingHashKey"])
        self._state.apply(
            {"op": "split", "stream": stream.name, "shard": shard_id, "start": start, "ms": self._state.ms()}
        )
        return {}

    def merge_shards(self, request: Request) -> Answer:
        """MergeShards."""
        stream = self._state.active(request)
        shards = [request["ShardToMerge"], request["AdjacentShardToMerge"]]
        self._state.apply({"op": "merge", "stream": stream.name, "shards": shards, "ms": self._state.ms()})
        return {}

    def update_shard_count(self, request: Request) -> Answer:
        """UpdateShardCount."""
        stream, target = self._state.active(request), int(request["TargetShardCount"])
        current = len(stream.open_shards)
        if stream.mode == "ON_DEMAND":
            raise KinesisError("ValidationException", f"Stream {stream.name} is on demand: its shards cannot be set")
        if not math.ceil(current / 2) <= target <= current * 2:
            raise KinesisError("LimitExceededException", f"from {current} shards to {target}: half to double at a time")
        self._state.apply({"op": "resize", "stream": stream.name, "target": target, "ms": self._state.ms()})
        counts = {"CurrentShardCount": current, "TargetShardCount": target}
        return {"StreamName": stream.name, "StreamARN": stream.arn, **counts}

    def update_stream_mode(self, request: Request) -> Answer:
        """UpdateStreamMode: the shards stay as they are."""
        stream, mode = self._state.active(request), request["StreamModeDetails"]["StreamMode"]
        if mode not in ("PROVISIONED", "ON_DEMAND"):
            raise KinesisError("ValidationException", f"StreamMode must be PROVISIONED or ON_DEMAND, but is {mode}")
        self._state.apply({"op": "mode", "stream": stream.name, "mode": mode})
        return {}

    def set_retention(self, request: Request) -> Answer:
        """IncreaseStreamRetentionPeriod and DecreaseStreamRetentionPeriod."""
        stream, hours = self._state.stream(request), int(request["RetentionPeriodHours"])
        if not 24 <= hours <= 8760:
            raise invalid(f"RetentionPeriodHours must be between 24 and 8760, but is {hours}")
        self._state.apply({"op": "retention", "stream": stream.name, "hours": hours})
        return {}

    def add_tags(self, request: Request) -> Answer:
        """AddTagsToStream."""
        self._state.apply({"op": "tags", "stream": self._state.stream(request).name, "tags": request.get("Tags") or {}})
        return {}

    def list_tags(self, request: Request) -> Answer:
        """ListTagsForStream."""
        tags = self._state.stream(request).tags
        return {"Tags": [{"Key": k, "Value": v} for k, v in sorted(tags.items())], "HasMoreTags": False}

    def _summary(self, stream: Stream) -> dict[str, Any]:
        return {
            "StreamName": stream.name,
            "StreamARN": stream.arn,
            "StreamStatus": stream.status(self._state.ms()),
            "StreamModeDetails": {"StreamMode": stream.mode},
            "RetentionPeriodHours": stream.retention_hours,
            "StreamCreationTimestamp": stream.created_ms / 1000,
            "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
            "EncryptionType": "NONE",
        }
