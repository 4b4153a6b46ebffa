"""The operations on shards: they are listed, split, merged, and set in number. All take effect at once."""

import math
from typing import Any

from kinesis_emulator.errors import KinesisError, invalid, not_found, over_limit
from kinesis_emulator.service import check_request
from kinesis_emulator.service.tokens import decoded_page, encoded
from kinesis_emulator.state import Request, State
from kinesis_emulator.state.changes import Merged, Resized, Split
from kinesis_emulator.state.quotas import check_shard_limit
from kinesis_emulator.state.shard import Shard
from kinesis_emulator.state.stream import Stream

Answer = dict[str, Any]
# API reference, ListShards: NextToken tells the stream and what was asked for; none of these goes with it.
_NOT_WITH_TOKEN = ("StreamName", "StreamARN", "StreamCreationTimestamp", "ExclusiveStartShardId", "ShardFilter")
# API reference, ShardFilter: what each type needs; the others take neither.
_NEEDED = {"AFTER_SHARD_ID": "ShardId", "AT_TIMESTAMP": "Timestamp", "FROM_TIMESTAMP": "Timestamp"}


class ShardOperations:
    """Shards are listed and resharded."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.operations = {
            "ListShards": self.list_shards,
            "SplitShard": self.split_shard,
            "MergeShards": self.merge_shards,
            "UpdateShardCount": self.update_shard_count,
        }

    def list_shards(self, request: Request) -> Answer:
        """ListShards."""
        if token := request.get("NextToken"):
            for member in _NOT_WITH_TOKEN:
                if request.get(member) is not None:
                    raise invalid(f"NextToken and {member} cannot be provided together.")
            stream, asked = self._continued(token)
        elif request.get("StreamName") is None and request.get("StreamARN") is None:
            raise invalid("Either NextToken or StreamName should be provided.")
        else:
            stream, asked = self._state.stream(request, "ListShards"), request
            check_creation(stream, request)
        after, chosen = asked.get("ExclusiveStartShardId"), asked.get("ShardFilter")
        shards = [shard for shard in self._filtered(stream, chosen) if after is None or shard.shard_id > after]
        limit = min(int(request.get("MaxResults") or 1000), self._state.options.shards_per_page)
        answer: Answer = {"Shards": [shard.describe() for shard in shards[:limit]]}
        if len(shards) > limit:
            # A page is named by its last shard: offsets would skip one where a split closes another in between.
            answer["NextToken"] = encoded([stream.name, stream.identity, shards[limit - 1].shard_id, chosen or {}])
        return answer

    def split_shard(self, request: Request) -> Answer:
        """SplitShard."""
        stream, shard_id = self._provisioned(request, "SplitShard"), request["ShardToSplit"]
        start, shard = int(request["NewStartingHashKey"]), stream.shard(shard_id)
        # Stricter than what a journal may hold: older versions made shards of one hash key, which the service does not.
        if shard.open and not shard.start_hash + 1 < start < shard.end_hash:
            raise invalid(
                f"NewStartingHashKey {start} used in SplitShard() on shard {shard_id} in stream {stream.name} under "
                f"account {stream.account} is not both greater than one plus the shard's StartingHashKey "
                f"{shard.start_hash} and less than the shard's EndingHashKey {shard.end_hash}."
            )
        check_shard_limit(self._state, 1)
        self._state.apply(Split(stream=stream.name, shard=shard_id, start=start, ms=self._state.ms()))
        return {}

    def merge_shards(self, request: Request) -> Answer:
        """MergeShards."""
        stream = self._provisioned(request, "MergeShards")
        shards = [request["ShardToMerge"], request["AdjacentShardToMerge"]]
        self._state.apply(Merged(stream=stream.name, shards=shards, ms=self._state.ms()))
        return {}

    def update_shard_count(self, request: Request) -> Answer:
        """UpdateShardCount."""
        stream, target = self._provisioned(request, "UpdateShardCount"), int(request["TargetShardCount"])
        current = len(stream.open_shards)
        if not math.ceil(current / 2) <= target <= current * 2:
            raise over_limit(
                f"UpdateShardCount cannot scale from {current} shards to {target}: to half of them at the least, and "
                "to double at the most, at a time."
            )
        check_shard_limit(self._state, target - current)
        self._state.apply(Resized(stream=stream.name, target=target, ms=self._state.ms()))
        counts = {"CurrentShardCount": current, "TargetShardCount": target}
        return {"StreamName": stream.name, "StreamARN": stream.arn, **counts}

    def _provisioned(self, request: Request, action: str) -> Stream:
        """The stream that a request names, whose shards are its owner's to change (API reference, SplitShard)."""
        stream = self._state.changeable(request, action)
        if stream.mode == "ON_DEMAND":
            raise KinesisError("ValidationException", f"Stream {stream.name} is on demand: its shards cannot be set")
        return stream

    def _continued(self, token: str) -> tuple[Stream, Request]:
        """The stream and the request of which a token's page is the next."""
        name, identity, after, chosen = decoded_page(token, str, int, str, dict)
        asked: Request = {"StreamName": name, "ExclusiveStartShardId": after, "ShardFilter": chosen or None}
        check_request("ListShards", asked)
        stream = self._state.stream({"StreamName": name}, "ListShards")
        if stream.identity != identity:
            raise KinesisError("ExpiredNextTokenException", f"Stream {name} was deleted and created again since.")
        return stream, asked

    def _filtered(self, stream: Stream, chosen: Request | None) -> list[Shard]:
        if chosen is None:
            return stream.filtered(None, 0, "", self._state.ms())
        kind = chosen["Type"]
        for member in ("ShardId", "Timestamp"):
            if (chosen.get(member) is not None) != (_NEEDED.get(kind) == member):
                needs = "needs" if _NEEDED.get(kind) == member else "cannot have"
                raise invalid(f"A ShardFilter of type {kind} {needs} a {member}.")
        milliseconds = round(float(chosen.get("Timestamp") or 0) * 1000)
        return stream.filtered(kind, milliseconds, chosen.get("ShardId") or "", self._state.ms())


def check_creation(stream: Stream, request: Request) -> None:
    """Raises ResourceNotFoundException where StreamCreationTimestamp is that of another stream of the name."""
    created = request.get("StreamCreationTimestamp")
    if created is not None and int(created) != int(stream.created_ms / 1000):
        raise not_found(f"Stream {stream.name}, created at {created}, under account {stream.account}")
