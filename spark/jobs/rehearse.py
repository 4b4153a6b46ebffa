"""spark-submit entry: does on a few sample events what streams and jobs do, for the archive of the JVM's classes."""

from datetime import UTC, date, datetime, timedelta
from itertools import islice

import orjson
import pyarrow as pa

from tidemark.core.errors import PreconditionError
from tidemark.core.settings import get_settings
from tidemark.lake.evolution import create_tables
from tidemark.lake.tables import BRONZE_SCHEMA, KINESIS_COLUMNS, tables_of
from tidemark.pipelines import load_pipelines
from tidemark.pipelines.producers.producer import sample_events
from tidemark.quality import load_suite
from tidemark_spark.batch.reprocess import reprocess
from tidemark_spark.driver.job import run_job
from tidemark_spark.driver.session import session
from tidemark_spark.driver.streams import run_to_end, start_refine
from tidemark_spark.speed.fold import fold
from tidemark_spark.speed.ingest import BronzeSink

EVENTS = 500


def main() -> None:
    """Refine, reprocess and fold the sample events of one pipeline, in the tables of the settings."""
    settings = get_settings()
    definition = next((each for each in load_pipelines().values() if each.sample), None)
    if definition is None:
        raise PreconditionError("no pipeline states where its sample events come from")
    suite, tables = load_suite(definition, settings), tables_of(definition, settings)
    create_tables(tables, settings)
    now = datetime.now(UTC)
    rows = [
        {
            "data": event if isinstance(event, bytes) else orjson.dumps(event),
            "partition_key": str(number),
            "stream": "rehearsal",
            "shard_id": "shardId-000000000000",
            "sequence_number": str(number),
            "sub_sequence_number": 0,
            "approximate_arrival_timestamp": now,
        }
        for number, event in enumerate(islice(sample_events(definition)(), EVENTS))
    ]
    records = pa.Table.from_pylist(rows, schema=pa.schema([BRONZE_SCHEMA.field(name) for name in KINESIS_COLUMNS]))
    BronzeSink(definition, settings, lambda: "rehearsal").write(records, 0)
    spark = session("rehearsal")
    run_to_end(spark, [start_refine(spark, definition, suite, settings, available_now=True)])
    reprocess(spark, definition, suite, settings, date.min, date.max, audit=False)
    fold(spark, definition, settings, grace=timedelta(0), now=lambda: datetime.now(UTC) + timedelta(days=1))
    spark.stop()


run_job(main)
