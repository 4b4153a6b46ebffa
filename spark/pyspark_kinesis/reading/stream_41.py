"""The stream reader for Spark 4.1 and older, which asks for the end of a micro-batch without saying where it starts.

``latestOffset()`` has no arguments there, and after a restart it may come before Spark says what it has committed. So
an offset is a ticket only, ``{"ticket": n}``, and what it stands for is planned when Spark names both ends, recorded
put-if-absent in the ledger (``plans/<n>.json``), and read from there by every replay.
"""

import time
from typing import Any

from pyspark_kinesis.errors import LedgerError
from pyspark_kinesis.offsets.offsets import Offset
from pyspark_kinesis.reading.stream import StreamReader
from pyspark_kinesis.reading.task import KinesisPartition

Ticket = dict[str, int]


class TicketStreamReader(StreamReader):
    """As exactly once as on Spark 4.2, with what this Spark lacks:

    - Trigger.AvailableNow is one micro-batch, which reads to the tip or to the limits;
    - the first micro-batch after every start runs whether there is anything to read or not;
    - no lag in the query's progress.
    """

    _last: int = 0
    _planned: Offset | None = None

    def initialOffset(self) -> Ticket:
        return {"ticket": 0}

    def latestOffset(self) -> Ticket:  # type: ignore[override]
        if self._planned is not None and self._plan().latest(self._planned) == self._planned:
            return {"ticket": self._last}
        # Tickets grow over restarts, also past those that were logged and never planned.
        return {"ticket": max(time.time_ns() // 1000, self._last + 1)}

    def partitions(self, start: dict[str, Any], end: dict[str, Any]) -> list[KinesisPartition]:
        if start == end:
            # So Spark says, at a restart, which offset it logged last. Its batch may have to run again yet, so nothing
            # may be planned from it before it has.
            self._last = end["ticket"]
            return []
        before = self._plan_of(start["ticket"])
        plan = self._ledger().plan(end["ticket"])
        if plan is None:
            following = self._plan().latest(before)
            if following == before:
                following = self._plan().nothing(before)
            plan = self._ledger().record_plan(end["ticket"], following)
        self._last, self._planned = end["ticket"], plan
        return self._plan().partitions(before, plan)

    def commit(self, end: dict[str, Any]) -> None:
        ledger = self._ledger()
        if (plan := ledger.plan(end["ticket"])) is not None:
            self._plan().commit(plan)
            ledger.forget_plans_before(end["ticket"])

    def _plan_of(self, ticket: int) -> Offset:
        if not ticket:
            return self._plan().initial()
        plan = self._ledger().plan(ticket)
        if plan is None:
            raise LedgerError(
                f"the checkpoint goes on from ticket {ticket}, which the ledger does not hold: the two are of "
                "different moments. Restore the checkpoint and ledgerLocation together, or start over with new ones"
            )
        return plan
