"""Quotas of an account, and settings that not every stream and account can have."""

from kinesis_emulator.errors import invalid, over_limit
from kinesis_emulator.state import State

SHARD_LIMIT = 20_000
ON_DEMAND_STREAM_LIMIT = 50
"""Default quotas of an account (AWS, quotas of Kinesis Data Streams, of the larger regions)."""
MAX_WARM_MIBPS = 10 * 1024
"""API reference, UpdateStreamWarmThroughput."""


def open_shards(state: State) -> int:
    """How many shards are open, in all streams."""
    return sum(len(stream.open_shards) for stream in state.streams.values())


def check_shard_limit(state: State, more: int) -> None:
    """Raises LimitExceededException where the account would have too many open shards.

    Streams on demand count, too: without a limit one request could take all memory, at each start again.
    """
    there = open_shards(state)
    if there + more > SHARD_LIMIT:
        raise over_limit(
            "This request would exceed the shard limit for the account. Current shard count for the account: "
            f"{there}. Limit: {SHARD_LIMIT}. Number of additional shards that would have resulted from this request: "
            f"{more}."
        )


def check_on_demand(state: State, mode: str, warm: int | None, strategy: str | None) -> None:
    """Raises InvalidArgumentException for settings that a stream of that mode, or this account, cannot have."""
    if mode != "ON_DEMAND" and strategy == "AUTO":
        raise invalid("RecordDistributionStrategy AUTO is only supported for streams in on-demand capacity mode.")
    if warm is None:
        return
    if mode != "ON_DEMAND":
        raise invalid("WarmThroughputMiBps is only supported for streams in on-demand capacity mode.")
    if not state.commitment.enabled(state.ms()):
        raise invalid(
            "WarmThroughputMiBps is only supported in accounts with MinimumThroughputBillingCommitment enabled; call "
            "UpdateAccountSettings first."
        )
    if warm > MAX_WARM_MIBPS:
        raise over_limit(f"The warm throughput of a stream is at most {MAX_WARM_MIBPS} MiB/s.")
