"""The account's minimum throughput billing commitment (API reference, MinimumThroughputBillingCommitmentInput)."""

from typing import Any

MINIMUM_MS = 24 * 3_600_000


class Commitment:
    """Lasts for 24 hours at least; one that is ended before goes on until then. Times are in milliseconds."""

    def __init__(self) -> None:
        self._started_ms: float | None = None
        self._ends_ms: float | None = None

    def set(self, enabled: bool, now_ms: float) -> None:
        """Begin it, or have it end as soon as that is allowed; to begin it again takes the end back."""
        if not enabled:
            if self.enabled(now_ms) and self._ends_ms is None and self._started_ms is not None:
                self._ends_ms = max(now_ms, self._started_ms + MINIMUM_MS)
        elif self.enabled(now_ms):
            self._ends_ms = None
        else:
            self._started_ms, self._ends_ms = now_ms, None

    def enabled(self, now_ms: float) -> bool:
        """Whether it is in force."""
        return self._started_ms is not None and (self._ends_ms is None or now_ms < self._ends_ms)

    def describe(self, now_ms: float) -> dict[str, Any]:
        """As in the answer of DescribeAccountSettings."""
        if self._started_ms is None:
            return {"Status": "DISABLED"}
        described: dict[str, Any] = {"StartedAt": self._started_ms / 1000}
        if not self.enabled(now_ms):
            assert self._ends_ms is not None
            return {"Status": "DISABLED", **described, "EndedAt": self._ends_ms / 1000}
        described["EarliestAllowedEndAt"] = (self._started_ms + MINIMUM_MS) / 1000
        return {"Status": "ENABLED" if self._ends_ms is None else "ENABLED_UNTIL_EARLIEST_ALLOWED_END", **described}
