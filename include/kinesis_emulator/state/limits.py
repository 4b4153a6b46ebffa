"""What a shard takes and gives in a second (AWS, Kinesis Data Streams quotas and the reference of GetRecords)."""

import math
from collections import deque

from kinesis_emulator.errors import throttled

READ_CALLS_PER_SECOND = 5
READ_BYTES_PER_SECOND = 2 * 1024 * 1024
WRITE_RECORDS_PER_SECOND = 1000
WRITE_BYTES_PER_SECOND = 1024 * 1024
FULL_READ_PENALTY_SECONDS = 5
BURST_BYTES = 10 * 1024 * 1024


class RateWindow:
    """What was used within the last second."""

    def __init__(self) -> None:
        self._uses: deque[tuple[float, int]] = deque()
        self._total = 0

    def would_exceed(self, now: float, amount: int, limit: int) -> bool:
        """Whether ``amount`` more at ``now`` (seconds) would go beyond ``limit`` a second."""
        # Later than now: the clock was set back since.
        while self._uses and not now - 1 < self._uses[0][0] <= now:
            self._total -= self._uses.popleft()[1]
        return self._total + amount > limit

    def use(self, now: float, amount: int) -> None:
        """Account for a use."""
        self._uses.append((now, amount))
        self._total += amount


class ShardLimits:
    """One shard's use of its limits. Times are in seconds, sizes in bytes of data (and, written, partition keys)."""

    def __init__(self, shard_id: str) -> None:
        self._shard_id = shard_id
        self._write_records = RateWindow()
        self._write_bytes = RateWindow()
        self._read_calls = RateWindow()
        self._read_bytes = RateWindow()
        self._full_read_at = -math.inf
        self._burst = float(BURST_BYTES)
        self._burst_at = -math.inf

    def write(self, size: int, now: float) -> None:
        """Account for a record; raises ProvisionedThroughputExceededException beyond 1 MiB/s or 1,000 records/s.

        A record of more than 1 MiB is taken from a burst of 10 MiB, which fills up again by 1 MiB/s (developer guide,
        "Handle large records": the rate is not told there; this is the average that a shard takes).
        """
        if size > WRITE_BYTES_PER_SECOND:
            self._write_large(size, now)
            return
        if self._write_records.would_exceed(now, 1, WRITE_RECORDS_PER_SECOND) or self._write_bytes.would_exceed(
            now, size, WRITE_BYTES_PER_SECOND
        ):
            raise throttled(self._shard_id)
        self._write_records.use(now, 1)
        self._write_bytes.use(now, size)

    def _write_large(self, size: int, now: float) -> None:
        # A clock that was set back fills nothing.
        filled = self._burst + max(0.0, now - self._burst_at) * WRITE_BYTES_PER_SECOND
        self._burst, self._burst_at = min(filled, float(BURST_BYTES)), now
        if size > self._burst or self._write_records.would_exceed(now, 1, WRITE_RECORDS_PER_SECOND):
            raise throttled(self._shard_id)
        self._burst -= size
        self._write_records.use(now, 1)

    def call_read(self, now: float) -> None:
        """Account for a call; raises ProvisionedThroughputExceededException beyond 5 calls/s, and after large reads."""
        if (
            0 <= now - self._full_read_at < FULL_READ_PENALTY_SECONDS
            or self._read_calls.would_exceed(now, 1, READ_CALLS_PER_SECOND)
            or self._read_bytes.would_exceed(now, 0, READ_BYTES_PER_SECOND)
        ):
            raise throttled(self._shard_id)
        self._read_calls.use(now, 1)

    def read(self, size: int, full: bool, now: float) -> None:
        """Account for an answer; a ``full`` one holds as much as fits, and the next calls are refused for 5 s."""
        self._read_bytes.use(now, size)
        if full:
            self._full_read_at = now
