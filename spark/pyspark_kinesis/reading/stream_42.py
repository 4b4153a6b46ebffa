"""The stream reader for Spark 4.2 and newer, which tells the source where a micro-batch starts before it is planned."""

from typing import Any

from pyspark.sql.streaming.datasource import (
    ReadAllAvailable,
    ReadLimit,
    ReadMaxBytes,
    ReadMaxRows,
    SupportsTriggerAvailableNow,
)

from pyspark_kinesis.offsets.admission import Limits
from pyspark_kinesis.offsets.offsets import Offset
from pyspark_kinesis.reading.stream import StreamReader
from pyspark_kinesis.reading.task import KinesisPartition


class AdmissionStreamReader(StreamReader, SupportsTriggerAvailableNow):
    """Offsets are the planner's own; Trigger.AvailableNow ends at a target frozen when it starts."""

    def initialOffset(self) -> Offset:
        return self._plan().initial()

    def getDefaultReadLimit(self) -> ReadLimit:
        # Spark 4.2 has no limit that combines others; this one stands for all that the options set.
        limits = Limits.of(self._options)
        return ReadMaxBytes(self._options.max_bytes) if limits.records is None else ReadMaxRows(limits.records)

    def latestOffset(self, start: Offset, limit: ReadLimit) -> Offset:
        return self._plan().latest(start, self._limits(limit))

    def _limits(self, limit: ReadLimit) -> Limits:
        """What Spark asks for, within what the options allow; Trigger.Once asks for everything, whatever they say."""
        limits = Limits.of(self._options)
        if isinstance(limit, ReadAllAvailable):
            return Limits()
        if isinstance(limit, ReadMaxRows):
            return limits.within(records=limit.max_rows)
        if isinstance(limit, ReadMaxBytes):
            return limits.within(size=limit.max_bytes)
        return limits

    def reportLatestOffset(self) -> dict[str, Any] | None:
        return self._plan().report()

    def prepareForTriggerAvailableNow(self) -> None:
        self._plan().freeze()

    def partitions(self, start: Offset, end: Offset) -> list[KinesisPartition]:
        return self._plan().partitions(start, end)

    def commit(self, end: Offset) -> None:
        self._plan().commit(end)
