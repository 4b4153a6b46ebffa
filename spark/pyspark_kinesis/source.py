"""The data source as Spark sees it: thin glue over planner.py (the driver) and reading.py (the tasks)."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from pyspark.sql.datasource import DataSource, DataSourceStreamReader, InputPartition
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.streaming.datasource import ReadLimit, SupportsTriggerAvailableNow
from pyspark.sql.types import StructType

from pyspark_kinesis.client import KinesisClient, shared_client
from pyspark_kinesis.errors import OptionError
from pyspark_kinesis.ledger import Ledger
from pyspark_kinesis.options import Options, parse
from pyspark_kinesis.planner import Offset, Planner
from pyspark_kinesis.reading import KinesisPartition, PartReader
from pyspark_kinesis.rows import SCHEMA
from pyspark_kinesis.stores import Store, open_store


class DefaultSource(DataSource):
    """``spark.readStream.format("kinesis")``: a Kinesis stream, each record once. Options: options.KNOWN."""

    @classmethod
    def name(cls) -> str:
        return "kinesis"

    def schema(self) -> StructType:
        # Also the earliest moment at which options can be refused: load() rather than start().
        self._parsed()
        return SCHEMA

    def streamReader(self, schema: StructType) -> "KinesisStreamReader":
        return KinesisStreamReader(self._parsed(), schema)

    def _parsed(self) -> Options:
        options = parse(self.options)
        _store(options)
        return options


class KinesisStreamReader(DataSourceStreamReader, SupportsTriggerAvailableNow):
    """Exactly once, under restarts, replays and second attempts; order is kept within a shard.

    One instance plans, in a process of its own; pickled copies of it read, in the executors. They share nothing but the
    partitions and the ledger.
    """

    def __init__(self, options: Options, schema: StructType) -> None:
        if schema.simpleString() != SCHEMA.simpleString():
            raise OptionError(f"the kinesis source has a schema of its own, {SCHEMA.simpleString()}: drop .schema(…)")
        self._options = options
        self._schema: pa.Schema = to_arrow_schema(schema, timezone="UTC")
        self._planner: Planner | None = None

    def initialOffset(self) -> Offset:
        return self._plan().initial()

    def latestOffset(self, start: Offset, limit: ReadLimit) -> Offset:
        # The limits of the options hold for every trigger: they are kept while reading, where the ends are known.
        return self._plan().latest(start)

    def reportLatestOffset(self) -> dict[str, Any] | None:
        return {"millis_behind_latest": self._plan().behind_ms()}

    def prepareForTriggerAvailableNow(self) -> None:
        self._plan().freeze()

    def partitions(self, start: Offset, end: Offset) -> list[KinesisPartition]:
        return self._plan().partitions(start, end)

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        assert isinstance(partition, KinesisPartition)
        return PartReader(self._client(), self._ledger(), self._options, self._schema, partition).read()

    def commit(self, end: Offset) -> None:
        self._plan().commit(end)

    def stop(self) -> None:
        if self._planner is not None:
            self._planner.close()

    def _plan(self) -> Planner:
        if self._planner is None:
            self._planner = Planner(self._client(), self._ledger(), self._options)
        return self._planner

    def _client(self) -> KinesisClient:
        return shared_client(self._options.region, self._options.endpoint_url)

    def _ledger(self) -> Ledger:
        return Ledger(_store(self._options))


def _store(options: Options) -> Store:
    return open_store(options.ledger_location, endpoint_url=options.ledger_endpoint_url, region=options.region)
