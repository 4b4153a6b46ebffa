"""``spark.read.format("kinesis")``: a stream between two points, for backfills and for looking into it."""

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone

import pyarrow as pa
from pyspark.sql.datasource import (
    DataSourceReader,
    EqualTo,
    Filter,
    GreaterThan,
    GreaterThanOrEqual,
    In,
    InputPartition,
    LessThan,
    LessThanOrEqual,
)

from pyspark_kinesis.api.client import KinesisClient, shared_client
from pyspark_kinesis.api.decoding import Records
from pyspark_kinesis.api.positions import SHARD_END, Shard, at_time, named_but_unread, parts_of
from pyspark_kinesis.api.rate_limit import Pace
from pyspark_kinesis.api.service_clock import ServiceClock
from pyspark_kinesis.errors import DataLossError, OptionError
from pyspark_kinesis.options.batch import BatchOptions
from pyspark_kinesis.options.stream import refuse_future
from pyspark_kinesis.reading.rows import ARROW_SCHEMA, to_arrow
from pyspark_kinesis.shards.cursor import MAX_RECORDS_A_CALL, Cursor
from pyspark_kinesis.shards.retention import Aging

_MAX_TASKS = 64
_BOUNDS = (GreaterThan, GreaterThanOrEqual, LessThan, LessThanOrEqual, EqualTo)


@dataclass(frozen=True)
class ShardSpan:
    """The part of a shard that is wanted: after ``start``, through ``end`` if there is one."""

    key: str
    start: str
    end: str | None


class SpanPartition(InputPartition):
    """Shards of one task, and the time (epoch seconds) after whose arrivals nothing is wanted."""

    def __init__(self, spans: list[ShardSpan], until: float) -> None:
        super().__init__(None)
        self.spans = spans
        self.until = until


class KinesisBatchReader(DataSourceReader):
    """All records between two points, closed shards included; the same ones for every attempt of a task.

    Order is kept within a shard. Rows are handed on call by call, so that a task holds 10 MB and not a shard.
    """

    def __init__(self, options: BatchOptions) -> None:
        self._options = options
        self._streams: set[str] | None = None
        self._shards: set[str] | None = None
        self._since: float | None = None
        self._until = options.until

    def partitions(self) -> list[SpanPartition]:
        """The shards, packed into tasks. Raises DataLossError for shards that positions name and are gone."""
        client, source = self._client(), self._options.source
        self._listed(client)  # from its answer, the client knows the service's clock
        # Arrivals have milliseconds: a record of this very one is not later. A time to come would make each attempt
        # read on to where the stream is by then.
        if source.starting_position.startswith("@"):
            try:
                refuse_future(client.clock, float(source.starting_position[1:]))
            except OptionError as error:  # there is an answer to it: no rows
                logging.getLogger(__name__).warning("%s", error)
        now = math.ceil(client.clock.now_at_most() * 1000) / 1000
        until = self._until if self._options.ends else min(now, self._until)
        # After the time: what arrived by then is in a shard that was there by then.
        shards = self._listed(client)
        self._check_named(shards)
        spans = [
            ShardSpan(shard.shard_id, start, self._options.ends.get(shard.shard_id))
            for shard in shards
            if (not self._options.ends or shard.shard_id in self._options.ends)
            and (self._shards is None or parts_of(shard.shard_id)[1] in self._shards)
            and not _begins_after(start := self._start(shard.shard_id), until)
        ]
        tasks = source.tasks or math.ceil(
            len(spans) / (source.shards_per_task or math.ceil(len(spans) / _MAX_TASKS) or 1)
        )
        return [SpanPartition(group, until) for n in range(tasks) if (group := spans[n::tasks])]

    def read(self, partition: InputPartition | None) -> Iterator[pa.RecordBatch]:
        if not isinstance(partition, SpanPartition):  # without partitions, Spark asks for what none has
            return
        client = self._client()
        aging = Aging(client, self._options.source)
        for span in partition.spans:
            iterator = aging.check(span.key, span.start, 0.0)
            pace = Pace(self._options.source.max_calls_per_second)
            cursor = Cursor(client, self._options.source, span.key, span.start, pace=pace)
            if iterator:
                cursor.continue_at(iterator)
            for records in _wanted(cursor, client.clock, span, partition.until):
                yield to_arrow(records, *parts_of(span.key), ARROW_SCHEMA)

    def _listed(self, client: KinesisClient) -> list[Shard]:
        return [
            shard.of(stream.name)
            for stream in self._options.streams
            if self._streams is None or stream.name in self._streams
            for shard in client.shards(stream.arguments)
        ]

    def _check_named(self, shards: list[Shard]) -> None:
        """Raise DataLossError, or warn, where shards that positions name are no longer listed."""
        listed = {shard.shard_id for shard in shards}
        streams = {parts_of(key)[0] for key in listed}
        gone = [key for key in self._options.ends if key not in listed and parts_of(key)[0] in streams]
        if gone := gone or named_but_unread(shards, self._options.source.named):
            message = (
                f"the positions name {', '.join(gone)}, which Kinesis does not list: its records have aged out, or it "
                "never was"
            )
            if self._options.source.fail_on_data_loss:
                raise DataLossError(f"{message}. Correct the positions, or set failOnDataLoss=false to read the rest")
            logging.getLogger(__name__).warning("%s; reading the rest", message)

    def _start(self, key: str) -> str:
        source = self._options.source
        start = source.named.get(key, source.starting_position)
        if self._since is None or start.isdigit() or start == SHARD_END:
            return start
        since = at_time(self._since)
        return since if not start.startswith("@") or float(start[1:]) < self._since else start

    def _client(self) -> KinesisClient:
        source = self._options.source
        return shared_client(source.region, source.endpoint_url, source.identity)


class FilteringBatchReader(KinesisBatchReader):
    """The same, asking for less where the query's filters allow it.

    A class of its own, as Spark refuses a reader that takes filters unless spark.sql.python.filterPushdown.enabled.
    """

    def pushFilters(self, filters: list[Filter]) -> list[Filter]:
        """Narrow what is read by shardId, streamName and approximateArrivalTimestamp; Spark still checks every row."""
        for one in filters:
            if isinstance(one, EqualTo | In) and one.attribute in (("shardId",), ("streamName",)):
                wanted = {one.value} if isinstance(one, EqualTo) else set(one.value)
                name = "_shards" if one.attribute == ("shardId",) else "_streams"
                known: set[str] | None = getattr(self, name)
                setattr(self, name, wanted if known is None else known & wanted)
            elif isinstance(one, _BOUNDS) and one.attribute == ("approximateArrivalTimestamp",):
                self._narrow(one, one.value)
        return filters

    def _narrow(self, one: Filter, value: object) -> None:
        if not isinstance(value, datetime):
            return
        moment = (value if value.tzinfo else value.replace(tzinfo=timezone.utc)).timestamp()
        if not isinstance(one, LessThan | LessThanOrEqual):
            self._since = moment if self._since is None else max(self._since, moment)
        if not isinstance(one, GreaterThan | GreaterThanOrEqual):
            self._until = min(self._until, moment)


def _begins_after(start: str, until: float) -> bool:
    """Whether nothing that follows a position can have arrived by a time."""
    return start == SHARD_END or (start.startswith("@") and float(start[1:]) > until)


def _wanted(cursor: Cursor, clock: ServiceClock, span: ShardSpan, until: float) -> Iterator[Records]:
    """The records of a span, page by page.

    A span that ends at a time ends once the service's clock has passed it: it may be up to a second or so in the
    service's future, as the planner knows that clock no better, and a later attempt would read what arrives meanwhile.
    """
    while True:
        page = cursor.fetch(MAX_RECORDS_A_CALL)
        records = page.records.through(until)
        if span.end is not None:
            records = records.through_number(int(span.end))
        if records:
            yield records
        if len(records) < len(page.records) or page.closed:
            return
        # A full page that is at the tip by its word may not be: other servers than AWS say so of what arrived in the
        # tip's millisecond, or always.
        if not page.behind_ms and len(page.records) < MAX_RECORDS_A_CALL:
            ahead = clock.seconds_until(until) if span.end is None else 0.0
            if not ahead:
                return
            time.sleep(ahead)
