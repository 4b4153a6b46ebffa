"""What a task does: read its shards' parts of a micro-batch, and record where they end before handing on a row."""

import logging
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql.datasource import InputPartition

from pyspark_kinesis.api.client import KinesisClient
from pyspark_kinesis.api.positions import parts_of
from pyspark_kinesis.api.rate_limit import Pace
from pyspark_kinesis.errors import DataLossError, LedgerError
from pyspark_kinesis.fan_out.subscription import Pushed, PushedCursor, SubscribedCursor
from pyspark_kinesis.offsets.ledger import Entry, Ledger
from pyspark_kinesis.options.stream import Options
from pyspark_kinesis.reading.rows import to_arrow
from pyspark_kinesis.shards.cursor import MAX_RECORDS_A_CALL, Cursor
from pyspark_kinesis.shards.retention import Aging

_THREADS = 8


@dataclass(frozen=True, eq=False)
class ShardRead:
    """One shard in a micro-batch: where its part starts, and hints that save calls (see ledger.Entry)."""

    shard_id: str
    start: str
    iterator: str | None = None
    issued_at: float = 0.0
    calls: tuple[float, ...] = ()
    # As of when the start is complete (see ledger.Entry); 0 if that is not known.
    as_of: float = 0.0
    # The ARN of a consumer to subscribe by, or what a subscription pushed already; neither: GetRecords.
    consumer: str | None = None
    pushed: Pushed | None = None


class KinesisPartition(InputPartition):
    """What one task reads. Limits are a shard's, None for none; ``until``: epoch seconds of the last arrival wanted."""

    def __init__(
        self,
        run: str,
        batch: int,
        reads: list[ShardRead],
        *,
        max_records: int | None,
        max_bytes: int | None,
        max_seconds: float | None,
        until: float | None,
        noted: bool = False,
    ) -> None:
        super().__init__(None)
        # Whether the planner noted the batch in the ledger, as all releases do since offsets of version 3.
        self.noted = noted
        self.run = run
        self.batch = batch
        self.reads = reads
        self.max_records = max_records
        self.max_bytes = max_bytes
        self.max_seconds = max_seconds
        self.until = until


def records_behind(behind_ms: int, count: int, since_ms: float, last_ms: float) -> int:
    """An estimate: what arrives in ``behind_ms`` at the rate at which ``count`` records came from one time to another.

    No more than a shard takes, which is a record a millisecond.
    """
    return round(behind_ms * min(1.0, count / max(1.0, last_ms - since_ms)))


class PartReader:
    """Reads the parts of one partition."""

    def __init__(
        self, client: KinesisClient, ledger: Ledger, options: Options, schema: pa.Schema, part: KinesisPartition
    ) -> None:
        self._client = client
        self._ledger = ledger
        self._options = options
        self._schema = schema
        self._part = part

    def read(self) -> Iterator[pa.RecordBatch]:
        """All rows, each shard's in order; a shard's rows only after its end is in the ledger.

        A second attempt, a replay after a restart and a second evaluation of the same micro-batch give the same rows.
        Raises LedgerError before a row where the ledger is not the one that the batch was planned with.
        """
        reads = self._part.reads
        if self._part.noted:
            self._ledger.check_planned(self._part.run, self._part.batch)
        if len(reads) == 1:
            yield from self.read_shard(reads[0])
            return
        with ThreadPoolExecutor(min(len(reads), _THREADS)) as pool:
            for done in as_completed([pool.submit(self.read_shard, read) for read in reads]):
                yield from done.result()

    def read_shard(self, read: ShardRead) -> list[pa.RecordBatch]:
        """The rows of one shard's part, with its end recorded."""
        recorded = self._ledger.entry(self._part.run, self._part.batch, read.shard_id)
        if recorded is None:
            batches, entry = self._read_on(read)
            recorded = self._ledger.record(self._part.run, self._part.batch, read.shard_id, entry)
            if recorded == entry:
                return batches
        if recorded.unread:
            # Its rows come again, or came, with a later batch.
            logging.getLogger(__name__).warning(
                "batch %d of %s is evaluated after it had ended unread, and gives no rows any more: evaluate the "
                "DataFrame before foreachBatch returns", self._part.batch, read.shard_id,
            )  # fmt: skip
            return []
        if recorded.start != read.start:
            raise LedgerError(
                f"the ledger says that batch {self._part.batch} of {read.shard_id} starts at {recorded.start}, the "
                f"checkpoint says {read.start}: the two are of different histories. Restore the checkpoint and "
                "ledgerLocation of one moment together, or start over with a new checkpoint location"
            )
        return self._read_again(read, recorded)

    def _read_on(self, read: ShardRead) -> tuple[list[pa.RecordBatch], Entry]:
        """Read to the limits, the tip, the frozen target or the shard's end, whichever is first."""
        # Also a query that never stopped may lag until records age out before it, and a replay may come late.
        if checked := Aging(self._client, self._options).check(read.shard_id, read.start, read.as_of):
            read = replace(read, iterator=checked, issued_at=time.time())
        with closing(self._cursor(read)) as cursor:
            return self._read_by(cursor, read)

    def _read_by(self, cursor: Cursor, read: ShardRead) -> tuple[list[pa.RecordBatch], Entry]:
        part = self._part
        deadline = time.monotonic() + part.max_seconds if part.max_seconds is not None else math.inf
        batches: list[pa.RecordBatch] = []
        count = size = 0
        last: str | None = None
        first_ms = last_ms = 0
        while True:
            asked = (
                MAX_RECORDS_A_CALL if part.max_records is None else min(MAX_RECORDS_A_CALL, part.max_records - count)
            )
            page = cursor.fetch(asked)
            # A full page that is at the tip by its word may not be: other servers than AWS say so of records that
            # arrived in the tip's millisecond, or always.
            full = len(page.records) >= asked
            records = page.records if part.until is None else page.records.through(part.until)
            at_target = len(records) < len(page.records)
            if records:
                batches.append(to_arrow(records, *parts_of(read.shard_id), self._schema))
                first_ms = first_ms or int(records.arrivals_ms[0])
                last_ms = int(records.arrivals_ms[-1])
                count += len(records)
                size += pc.sum(pc.binary_length(batches[-1].column(0))).as_py() or 0
                last = records.last
            if (
                page.closed
                or cursor.exhausted
                or at_target
                or (not page.behind_ms and not full)
                or (part.max_records is not None and count >= part.max_records)
                or (part.max_bytes is not None and size >= part.max_bytes)
                or time.monotonic() >= deadline
            ):
                break
        # Not that of a closed shard, which was longer ago: its children may have records by now.
        at_tip = not page.behind_ms and not full and not at_target and not page.closed
        return batches, Entry(
            start=read.start,
            end=(last or read.start) if at_target else cursor.position,
            records=count,
            last=last,
            bytes=size,
            behind_ms=page.behind_ms,
            as_of=cursor.seen_at() if at_tip else last_ms / 1000 or read.as_of,
            records_behind=records_behind(page.behind_ms, count, read.as_of * 1000 or first_ms, last_ms),
            gets=cursor.tally.calls,
            subscriptions=cursor.tally.subscriptions,
            events=cursor.tally.events,
            throttles=cursor.tally.throttles,
            at_target=at_target,
            iterator=None if at_target else cursor.iterator,
            issued_at=cursor.issued_at,
            calls=cursor.pace.calls,
        )

    def _read_again(self, read: ShardRead, recorded: Entry) -> list[pa.RecordBatch]:
        """Exactly the records of an entry. Raises DataLossError where the stream no longer has them.

        By GetRecords, unless they were pushed: the consumer's subscription may be the first attempt's.
        """
        if read.pushed is not None and recorded.last is not None:
            records = read.pushed.page.records.through_number(int(recorded.last))
            if (len(records), records.last) == (recorded.records, recorded.last):
                return [to_arrow(records, *parts_of(read.shard_id), self._schema)]
        cursor = self._cursor(replace(read, consumer=None, pushed=None))
        batches: list[pa.RecordBatch] = []
        count, last = 0, None
        while count < recorded.records:
            asked = min(MAX_RECORDS_A_CALL, recorded.records - count)
            page = cursor.fetch(asked)
            # Where records are gone, others may have come in their place, which are later batches'.
            records = page.records.through_number(int(recorded.last)) if recorded.last else page.records
            if records:
                batches.append(to_arrow(records, *parts_of(read.shard_id), self._schema))
                count += len(records)
                last = records.last
            at_tip = not page.behind_ms and len(page.records) < asked
            if len(records) < len(page.records) or page.closed or at_tip:
                break
        if (count, last) != (recorded.records, recorded.last):
            message = (
                f"batch {self._part.batch} held {recorded.records} records of {read.shard_id} after {recorded.start} "
                f"through {recorded.last}, but a replay found {count} through {last}: the others aged out"
            )
            if self._options.fail_on_data_loss:
                raise DataLossError(f"{message}. Set failOnDataLoss=false to go on without them")
            logging.getLogger(__name__).warning("%s; going on without them", message)
        return batches

    def _cursor(self, read: ShardRead) -> Cursor:
        pace = Pace(self._options.max_calls_per_second, read.calls)
        place = (self._client, self._options, read.shard_id, read.start)
        if read.pushed is not None:
            return PushedCursor(*place, pace=pace, page=read.pushed.page, pushed_at=read.pushed.at)
        if read.consumer is not None:
            hints = {"iterator": read.iterator, "issued_at": read.issued_at}
            return SubscribedCursor(*place, pace=pace, consumer_arn=read.consumer, **hints)
        return Cursor(*place, pace=pace, iterator=read.iterator, issued_at=read.issued_at)
