"""The ingest sink: micro-batches of Kinesis records into bronze, each record once, each with its place in the log.

``ingest_batch`` and ``segment`` are derived from bronze's own log and never from Spark's batch ids, which restart at 0
with a lost checkpoint. A commit carries, beside the positions, the batch id under the streaming query's own id, which
tells a replay from a new batch.
"""

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from pyspark.sql import DataFrame

from tidemark.core.columns import BATCH_BYTES
from tidemark.core.documents import sizes_of
from tidemark.core.errors import TableError
from tidemark.core.settings import Settings
from tidemark.definition import Pipeline
from tidemark.lake.commits import IdempotentWriter
from tidemark.lake.snapshots import NOTHING, active_files, position
from tidemark.lake.tables import KINESIS_COLUMNS, tables_of
from tidemark.lake.transaction_ids import (
    INGEST_APP,
    SEALED_APP,
    SEGMENT_APP,
    micro_batch_app,
    micro_batch_records_app,
)
from tidemark_spark.speed.progress import Steps, say

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The wall clock, in UTC."""
    return datetime.now(UTC)


class BronzeSink:
    """A ``foreachBatch`` function. Exactly once for any replay, also beside a second driver or a seal.

    ``checkpoint_id`` gives the id that Spark keeps in the query's checkpoint: it is lost with it.
    """

    def __init__(
        self, pipeline: Pipeline, settings: Settings, checkpoint_id: Callable[[], str], clock: Clock = utc_now
    ) -> None:
        self._pipeline = pipeline
        self._settings = settings
        self._writer = IdempotentWriter(tables_of(pipeline, settings).bronze, settings)
        self._checkpoint_id = checkpoint_id
        self._clock = clock
        self._segment = NOTHING
        self._segment_opened = clock()
        self._last_batch = NOTHING
        self._last_time = clock()

    def __call__(self, batch: DataFrame, batch_id: int) -> None:
        steps = Steps()
        with steps.step("collect"):
            records = batch.toDF(*KINESIS_COLUMNS).toArrow()
        if records.num_rows:
            with steps.step("commit"):
                self.write(records, batch_id)
            say("ingested", batch=batch_id, records=records.num_rows, ms=steps.ms)

    def write(self, records: pa.Table, batch_id: int) -> bool:
        """Commit one micro-batch; False where it was committed before.

        Raises:
            TableError: the batch id was committed, but with other records, or later ones were too: the checkpoint is
                older than bronze. Nothing was written; the message says what to do.
        """
        checkpoint = self._checkpoint_id()
        replay_app, records_app = micro_batch_app(checkpoint), micro_batch_records_app(checkpoint)
        # Within a batch the log's order is shard by shard; sequence numbers of a shard sort by length, then as text.
        ordered = records.append_column("_length", pc.utf8_length(records["sequence_number"])).sort_by(
            [(name, "ascending") for name in ("shard_id", "_length", "sequence_number", "sub_sequence_number")]
        )

        def stamp(snapshot: DeltaTable) -> tuple[pa.Table, Mapping[str, int]]:
            rows, versions = self._stamped(ordered, snapshot)
            return rows, {**versions, replay_app: batch_id, records_app: digest}

        digest = _digest(ordered)
        if self._writer.append_stamped(stamp, replay_app, batch_id):
            return True
        self._refuse_older_checkpoint(batch_id, replay_app, records_app, digest)
        return False

    def _refuse_older_checkpoint(self, batch_id: int, replay_app: str, records_app: str, digest: int) -> None:
        """Spark replays the newest batch only, and the ledger gives it the same records: all else is not a replay."""
        held, known = self._writer.position_of(replay_app), self._writer.position_of(records_app)
        if held == batch_id and known in (digest, NOTHING):  # bronze of before digests were kept has none
            return
        raise TableError(
            f"micro-batch {batch_id} of {self._pipeline.name}.ingest is not the one that bronze holds under this "
            f"number (its newest is {held}): the checkpoint was restored to an older state than bronze. Remove the "
            f"folder {self._settings.state_uri.rstrip('/')}/{self._pipeline.name}/ingest and start again: the stream "
            "goes on after each shard's last record in bronze, and takes each record once"
        )

    def _stamped(self, records: pa.Table, snapshot: DeltaTable) -> tuple[pa.Table, Mapping[str, int]]:
        before = position(snapshot, INGEST_APP)
        if before != self._last_batch:
            # Another process wrote the newest batch, maybe on a host whose clock is ahead of this one's.
            newest_time = pc.max(active_files(snapshot)["max.ingest_time"]).as_py()
            self._last_time = max(self._last_time, newest_time or self._last_time)
        # ingest_time never goes back: refine's deduplication watermark runs on it.
        now = self._last_time = max(self._last_time, self._clock())
        sealed, newest = position(snapshot, SEALED_APP), position(snapshot, SEGMENT_APP)
        if newest > sealed and (newest != self._segment or now - self._segment_opened >= self._pipeline.segment_length):
            sealed = newest  # the segment has had its time, or another driver opened it
        segment = sealed + 1
        if segment != self._segment:
            self._segment, self._segment_opened = segment, now
        rows = records.num_rows
        numbers, sizes = self._parts(records)
        ingest_batch = before + 1 + numbers[-1]
        constants = {
            "ingest_batch": pa.array([before + 1 + number for number in numbers], pa.int64()),
            "segment": pa.array([segment] * rows, pa.int64()),
            BATCH_BYTES: pa.array([sizes[number] for number in numbers], pa.int64()),
            "ingest_time": pa.array([now] * rows, pa.timestamp("us", tz="UTC")),
            "ingest_date": pa.array([now.date()] * rows, pa.date32()),
        }
        for name, values in constants.items():
            records = records.append_column(name, values)
        self._last_batch = ingest_batch
        versions = {INGEST_APP: ingest_batch, SEGMENT_APP: segment}
        return records, versions if sealed == NOTHING else {**versions, SEALED_APP: sealed}

    def _parts(self, records: pa.Table) -> tuple[list[int], list[int]]:
        """The ingest_batch of each record, counted from 0 in their order, and the bytes of each ingest_batch.

        It is one, but where records hold so many events that together they would take more memory than a micro-batch
        may: refine reads no less than one ingest_batch at a time.
        """
        sizes = sizes_of(records["data"], self._pipeline.records)
        limit = sum(sizes) if self._pipeline.records == "object" else self._settings.max_bytes_per_batch
        numbers, totals = [], [0]
        for size in sizes:
            if totals[-1] and totals[-1] + size > limit:
                totals.append(0)
            totals[-1] += size
            numbers.append(len(totals) - 1)
        return numbers, totals


def _digest(records: pa.Table) -> int:
    """What tells the records of a micro-batch from another one's: of how many there are, and where each came from."""
    digest = hashlib.sha256(str(records.num_rows).encode())
    for name in ("stream", "shard_id", "sequence_number", "sub_sequence_number"):
        for value in records[name].to_pylist():
            digest.update(f"{value};".encode())
    return int.from_bytes(digest.digest()[:7])
