"""What a query says of itself: how each shard stands, and what its last batch cost."""

import logging
from collections.abc import Mapping

from pyspark_kinesis.offsets.ledger import Entry

_COUNTED = ("records", "bytes", "getRecordsCalls", "throttles")


class Progress:
    """The parts of each shard's last batch. With ``fan_out``, calls and events of subscriptions are reported, too."""

    def __init__(self, fan_out: bool) -> None:
        self._fan_out = fan_out
        self._last: dict[str, dict[str, int]] = {}

    def tell(self, batch: int, entries: Mapping[str, Entry]) -> None:
        """Note what a batch cost, and log it in one line."""
        for name, entry in entries.items():
            self._last[name] = {
                "recordsBehind": entry.records_behind,
                "records": entry.records,
                "bytes": entry.bytes,
                "getRecordsCalls": entry.gets,
                "throttles": entry.throttles,
            }
            if self._fan_out:
                self._last[name] |= {"subscribeToShardCalls": entry.subscriptions, "events": entry.events}
        total = {what: sum(self._last[name][what] for name in entries) for what in _COUNTED}
        logging.getLogger(__name__).info(
            "batch %d: %d records, %d bytes of %d shards in %d calls, %d throttled; %d ms behind, about %d records",
            batch, total["records"], total["bytes"], len(entries), total["getRecordsCalls"], total["throttles"],
            max(entry.behind_ms for entry in entries.values()), sum(e.records_behind for e in entries.values()),
        )  # fmt: skip

    def of(self, name: str, behind_ms: int, kept_open: Mapping[str, int]) -> dict[str, int]:
        """How a shard stands. ``kept_open``: what the planner's own subscription to it cost so far."""
        report = {**self._last.get(name, {}), "millisBehindLatest": behind_ms}
        return report | {what: report.get(what, 0) + count for what, count in kept_open.items()}
