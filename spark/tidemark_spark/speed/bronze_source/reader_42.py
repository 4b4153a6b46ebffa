"""The reader of bronze for Spark 4.2, which says where a micro-batch starts and how much it may hold."""

from pyspark.sql.streaming.datasource import ReadAllAvailable, ReadLimit, ReadMaxRows, SupportsTriggerAvailableNow

from tidemark_spark.speed.bronze_source.reader import BronzeLogReader


class AdmissionReader(BronzeLogReader, SupportsTriggerAvailableNow):
    """Micro-batches within the limit, also where Trigger.AvailableNow has much to read."""

    _target: int | None = None

    def getDefaultReadLimit(self) -> ReadLimit:
        return ReadMaxRows(self._max_records)

    def prepareForTriggerAvailableNow(self) -> None:
        self._target = self._newest()

    def latestOffset(self, start: dict[str, int], limit: ReadLimit) -> dict[str, int]:
        newest = self._newest()
        newest = newest if self._target is None else min(newest, self._target)
        after = start["ingest_batch"]
        if newest <= after:
            return start
        if isinstance(limit, ReadAllAvailable):
            return {"ingest_batch": newest}
        return {"ingest_batch": min(newest, self._within(after, newest))}

    def reportLatestOffset(self) -> dict[str, int]:
        return {"ingest_batch": self._newest()}
