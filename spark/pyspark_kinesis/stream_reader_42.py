"""The stream reader for Spark 4.2 and newer, which tells the source where a micro-batch starts before it is planned."""

from typing import Any

from pyspark.sql.streaming.datasource import ReadLimit, SupportsTriggerAvailableNow

from pyspark_kinesis.planner import Offset
from pyspark_kinesis.reading import KinesisPartition
from pyspark_kinesis.stream_reader import StreamReader


class AdmissionStreamReader(StreamReader, SupportsTriggerAvailableNow):
    """Offsets are the planner's own; Trigger.AvailableNow ends at a target frozen when it starts."""

    def initialOffset(self) -> Offset:
        return self._plan().initial()

    def latestOffset(self, start: Offset, limit: ReadLimit) -> Offset:
        # The limits of the options hold for every trigger: they are kept while reading, where the ends are known.
        return self._plan().latest(start)

    def reportLatestOffset(self) -> dict[str, Any] | None:
        return self._plan().report()

    def prepareForTriggerAvailableNow(self) -> None:
        self._plan().freeze()

    def partitions(self, start: Offset, end: Offset) -> list[KinesisPartition]:
        return self._plan().partitions(start, end)

    def commit(self, end: Offset) -> None:
        self._plan().commit(end)
