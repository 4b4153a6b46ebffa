"""The reader of bronze for Spark 4.1 and older, which asks where a micro-batch ends, not saying where it starts."""

from pyspark.sql.datasource import InputPartition

from tidemark_spark.speed.bronze_source.reader import BronzeLogReader


class GuessingReader(BronzeLogReader):
    """Micro-batches within the limit, counted from the last end that Spark has named.

    Before it has named one, from ``reached``: what a checkpoint has committed is never beyond it, so no offset goes
    back. Trigger.AvailableNow is one micro-batch.
    """

    def latestOffset(self) -> dict[str, int]:  # type: ignore[override]
        newest = self._newest()
        if newest <= self._reached:
            return {"ingest_batch": self._reached}
        return {"ingest_batch": min(newest, self._within(self._reached, newest))}

    def partitions(self, start: dict[str, int], end: dict[str, int]) -> list[InputPartition]:
        self._reached = max(self._reached, start["ingest_batch"], end["ingest_batch"])
        return super().partitions(start, end) if start != end else []
