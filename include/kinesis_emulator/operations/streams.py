"""The operations that make, describe, list and delete streams."""

from typing import Any

from kinesis_emulator.errors import in_use, missing, over_limit
from kinesis_emulator.operations.tags import check_characters
from kinesis_emulator.service.tokens import decoded_page, encoded
from kinesis_emulator.state import Request, State
from kinesis_emulator.state.changes import Created, Deleted
from kinesis_emulator.state.quotas import (
    ON_DEMAND_STREAM_LIMIT,
    SHARD_LIMIT,
    check_on_demand,
    check_shard_limit,
    open_shards,
)
from kinesis_emulator.state.stream import Stream

Answer = dict[str, Any]
ON_DEMAND_SHARDS = 4
"""With which a stream on demand begins (AWS, quotas of Kinesis Data Streams: 4 MB/s of writes)."""
MAX_PAGE = 100


class StreamOperations:
    """Streams are made, described, listed and deleted."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.operations = {
            "CreateStream": self.create_stream,
            "DeleteStream": self.delete_stream,
            "DescribeLimits": self.describe_limits,
            "DescribeStream": self.describe_stream,
            "DescribeStreamSummary": self.describe_stream_summary,
            "ListStreams": self.list_streams,
        }

    def create_stream(self, request: Request) -> Answer:
        """CreateStream."""
        mode = (request.get("StreamModeDetails") or {}).get("StreamMode", "PROVISIONED")
        shards = request.get("ShardCount") or (ON_DEMAND_SHARDS if mode == "ON_DEMAND" else None)
        if shards is None:
            raise missing("shardCount")
        tags, size = request.get("Tags") or {}, request.get("MaxRecordSizeInKiB")
        warm, strategy = request.get("WarmThroughputMiBps"), request.get("RecordDistributionStrategy")
        check_characters(tags)
        check_on_demand(self._state, mode, warm, strategy)
        check_shard_limit(self._state, int(shards))
        on_demand = sum(stream.mode == "ON_DEMAND" for stream in self._state.streams.values())
        if mode == "ON_DEMAND" and on_demand >= ON_DEMAND_STREAM_LIMIT:
            raise over_limit(f"An account has at most {ON_DEMAND_STREAM_LIMIT} streams on demand; delete one first")
        self._state.apply(
            Created(
                stream=request["StreamName"],
                shards=int(shards),
                mode=mode,
                ms=self._state.ms(),
                creation=self._state.next_creation(),
                tags=tags,
                max_record_kib=None if size is None else int(size),
                strategy=strategy or "USER_PARTITION_KEY",
                warm_mibps=None if warm is None else int(warm),
            )
        )
        return {}

    def delete_stream(self, request: Request) -> Answer:
        """DeleteStream: refused while consumers are registered, unless EnforceConsumerDeletion deletes them, too."""
        stream = self._state.stream(request, "DeleteStream")
        if stream.consumers and not request.get("EnforceConsumerDeletion"):
            names = ", ".join(sorted(stream.consumers))
            raise in_use(
                f"Stream {stream.name} has registered consumers ({names}): deregister them, or set "
                "EnforceConsumerDeletion"
            )
        self._state.apply(Deleted(stream=stream.name))
        return {}

    def describe_limits(self, _: Request) -> Answer:
        """DescribeLimits."""
        streams = self._state.streams.values()
        return {
            "ShardLimit": SHARD_LIMIT,
            "OpenShardCount": open_shards(self._state),
            "OnDemandStreamCount": sum(stream.mode == "ON_DEMAND" for stream in streams),
            "OnDemandStreamCountLimit": ON_DEMAND_STREAM_LIMIT,
        }

    def describe_stream(self, request: Request) -> Answer:
        """DescribeStream."""
        stream = self._state.stream(request, "DescribeStream")
        shards = sorted(stream.shards.values(), key=lambda shard: shard.shard_id)
        after = request.get("ExclusiveStartShardId")
        shards = [shard for shard in shards if after is None or shard.shard_id > after]
        limit = min(int(request.get("Limit") or MAX_PAGE), MAX_PAGE)
        described = {**self._described(stream), "Shards": [shard.describe() for shard in shards[:limit]]}
        return {"StreamDescription": {**described, "HasMoreShards": len(shards) > limit}}

    def describe_stream_summary(self, request: Request) -> Answer:
        """DescribeStreamSummary."""
        stream = self._state.stream(request, "DescribeStreamSummary")
        summary = {
            **self._described(stream),
            "OpenShardCount": len(stream.open_shards),
            "ConsumerCount": len(stream.consumers),
            "MaxRecordSizeInKiB": stream.record_kib,
        }
        if stream.mode == "ON_DEMAND":
            summary["RecordDistributionStrategy"] = stream.strategy
            if stream.warm_mibps is not None:
                summary["WarmThroughput"] = stream.warm_throughput
        return {"StreamDescriptionSummary": summary}

    def list_streams(self, request: Request) -> Answer:
        """ListStreams."""
        after = request.get("ExclusiveStartStreamName") or ""
        if token := request.get("NextToken"):
            (after,) = decoded_page(token, str)
        names = sorted(name for name in self._state.streams if name > after)
        limit = min(int(request.get("Limit") or MAX_PAGE), MAX_PAGE)
        answer: Answer = {
            "StreamNames": names[:limit],
            "HasMoreStreams": len(names) > limit,
            "StreamSummaries": [self._summary(self._state.streams[name]) for name in names[:limit]],
        }
        if len(names) > limit:
            answer["NextToken"] = encoded([names[limit - 1]])
        return answer

    def _summary(self, stream: Stream) -> Answer:
        return {
            "StreamName": stream.name,
            "StreamARN": stream.arn,
            "StreamStatus": stream.status(self._state.ms()),
            "StreamModeDetails": {"StreamMode": stream.mode},
            "StreamCreationTimestamp": stream.created_ms / 1000,
        }

    def _described(self, stream: Stream) -> Answer:
        return {
            **self._summary(stream),
            "RetentionPeriodHours": stream.retention_hours,
            "EnhancedMonitoring": [{"ShardLevelMetrics": stream.metrics}],
            **stream.encryption,
        }
