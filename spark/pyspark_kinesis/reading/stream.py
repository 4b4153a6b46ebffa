"""What the stream readers of all Spark versions share: glue over planner.py (the driver) and task.py (the tasks)."""

import atexit
import logging
import signal
import sys
import threading
from collections.abc import Iterator

import pyarrow as pa
from pyspark.sql.datasource import DataSourceStreamReader, InputPartition
from pyspark.sql.types import StructType

from pyspark_kinesis.api.client import KinesisClient, shared_client
from pyspark_kinesis.offsets.ledger import Ledger
from pyspark_kinesis.offsets.stores.store import Store, open_store
from pyspark_kinesis.options.stream import Options
from pyspark_kinesis.reading.planner import Planner
from pyspark_kinesis.reading.rows import ARROW_SCHEMA, check_schema
from pyspark_kinesis.reading.task import KinesisPartition, PartReader


class StreamReader(DataSourceStreamReader):
    """Exactly once, under restarts, replays and second attempts; order is kept within a shard.

    One instance plans, in a process of its own; pickled copies of it read, in the executors. They share nothing but the
    partitions and the ledger.
    """

    def __init__(self, options: Options, schema: StructType) -> None:
        check_schema(schema)
        self._options = options
        self._planner: Planner | None = None
        self._stopping = False

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        assert isinstance(partition, KinesisPartition)
        return PartReader(self._client(), self._ledger(), self._options, ARROW_SCHEMA, partition).read()

    def stop(self) -> None:
        self._stopping = True
        if self._planner is not None:
            self._planner.close()
            self._planner = None

    def _plan(self) -> Planner:
        if self._planner is None:
            log_to_stderr()
            self._planner = Planner(self._client(), self._ledger(), self._options)
            if self._planner.fan_out is not None:
                self._stop_at_exit()
                self._planner.fan_out.register()
        return self._planner

    def _stop_at_exit(self) -> None:
        """Have ``stop`` run to its end, once, however this process ends, but for a kill.

        Spark ends its planner process by SIGTERM, of which Python just dies, and by closing the socket that it reads.
        Which is noticed first is chance, and neither may interrupt what the other began.
        """
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, lambda *_: None if self._stopping else sys.exit(143))
        atexit.register(self.stop)

    def _client(self) -> KinesisClient:
        return shared_client(self._options.region, self._options.endpoint_url, self._options.identity)

    def _ledger(self) -> Ledger:
        return Ledger(store_of(self._options))


def log_to_stderr() -> None:
    """Make the package's log of a process visible that nobody set up logging in: Spark's planner process.

    What it writes goes to the driver's own stderr.
    """
    ours = logging.getLogger("pyspark_kinesis")
    if not ours.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        ours.addHandler(handler)
        ours.setLevel(logging.INFO)


def store_of(options: Options) -> Store:
    """Where the ledger of a query lives."""
    return open_store(
        options.ledger_location,
        endpoint_url=options.ledger_endpoint_url,
        region=options.region,
        profile=options.identity.profile,
    )
