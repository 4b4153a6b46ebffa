"""The readers of bronze, asked as Spark 4.2 and as Spark 4.1 asks them; no session is started."""

from pathlib import Path

import pytest
from deltalake import DeltaTable
from layers import kinesis_records, make_tables
from pyspark.sql.streaming.datasource import ReadAllAvailable

from tidemark.core.documents import Splitter
from tidemark.core.settings import Settings
from tidemark.lake.snapshots import open_table
from tidemark.lake.tables import tables_of
from tidemark.pipelines.clickstream import clickstream
from tidemark_spark.speed.bronze_source.reader_41 import GuessingReader
from tidemark_spark.speed.bronze_source.reader_42 import AdmissionReader
from tidemark_spark.speed.ingest import BronzeSink


@pytest.fixture
def bronze(settings: Settings) -> str:
    """The address of a bronze with the ingest_batches 0 to 4, of ten records each."""
    make_tables(clickstream, settings)
    sink = BronzeSink(clickstream, settings, lambda: "q")
    for batch in range(5):
        sink.write(kinesis_records([{"n": n} for n in range(10)], batch * 10), batch)
    return tables_of(clickstream, settings).bronze.uri


def reader(uri: str, after: int = -1, reached: int = -1, max_records: int = 25) -> GuessingReader:
    return GuessingReader(uri, {}, after, max(after, reached), max_records, 2**20, Splitter(["n"], "object"))


def at(batch: int) -> dict[str, int]:
    return {"ingest_batch": batch}


def test_micro_batches_keep_to_the_limit_from_where_the_last_one_ended(bronze: str) -> None:
    asked = reader(bronze)
    start, ends = asked.initialOffset(), []
    while (end := asked.latestOffset()) != start:
        [part] = asked.partitions(start, end)
        rows = sum(batch.num_rows for batch in asked.read(part))
        ends.append((end["ingest_batch"], rows))
        start = end
    assert ends == [(1, 22), (3, 22), (4, 11)], "each with a marker row an ingest_batch"
    assert asked.latestOffset() == at(4), "nothing new"


def test_after_a_restart_no_offset_goes_back(bronze: str) -> None:
    assert reader(bronze, after=-1, reached=3).latestOffset() == at(4)
    assert reader(bronze, after=-1, reached=4).latestOffset() == at(4)
    replaying = reader(bronze, after=-1, reached=1)
    assert replaying.partitions(at(1), at(3)) != []
    assert replaying.latestOffset() == at(4)
    told = reader(bronze, after=-1, reached=0)
    assert told.partitions(at(3), at(3)) == []
    assert told.latestOffset() == at(4)


def test_a_query_without_a_checkpoint_starts_where_it_is_told(bronze: str) -> None:
    asked = reader(bronze, after=1, max_records=10)
    assert asked.initialOffset() == at(1)
    assert asked.latestOffset() == at(2)


def test_on_spark_42_the_limit_counts_from_the_start_that_spark_names(bronze: str) -> None:
    asked = AdmissionReader(bronze, {}, -1, -1, 25, 2**20, Splitter(["n"], "object"))
    limit = asked.getDefaultReadLimit()
    assert asked.latestOffset(at(-1), limit) == at(1)
    assert asked.latestOffset(at(1), limit) == at(3)
    assert asked.latestOffset(at(1), ReadAllAvailable()) == at(4)
    assert asked.latestOffset(at(4), limit) == at(4)
    assert asked.reportLatestOffset() == at(4)


def test_micro_batches_keep_to_a_limit_of_bytes_also_over_compacted_files(settings: Settings) -> None:
    make_tables(clickstream, settings)
    table = tables_of(clickstream, settings).bronze
    sink = BronzeSink(clickstream, settings, lambda: "q")
    for batch in range(6):
        # What repeats is small in a file, and as large as ever in memory.
        records = [b"x" * 100_000 for _ in range(4)] if batch < 4 else [b"{}"]
        sink.write(kinesis_records(records, batch * 10), batch)

    def ends() -> list[int]:
        asked = AdmissionReader(table.uri, {}, -1, -1, 1000, 1_000_000, Splitter(["n"], "object"))
        start, found = at(-1), []
        while (end := asked.latestOffset(start, asked.getDefaultReadLimit())) != start:
            found.append(end["ingest_batch"])
            start = end
        return found

    assert ends() == [1, 5]
    assert sum(file.stat().st_size for file in Path(table.uri).rglob("*.parquet")) < 100_000
    open_table(table, settings).optimize.compact()
    assert ends() == [0, 1, 2, 3, 4, 5]


def test_of_files_that_do_not_say_their_bytes_one_ingest_batch_is_read_at_a_time(bronze: str) -> None:
    snapshot = DeltaTable(bronze)
    snapshot.alter.set_table_properties({"delta.dataSkippingStatsColumns": "ingest_batch,ingest_time"})
    snapshot.optimize.compact()
    asked = AdmissionReader(bronze, {}, -1, -1, 1000, 2**20, Splitter(["n"], "object"))
    assert asked.latestOffset(at(-1), asked.getDefaultReadLimit()) == at(0)
    assert asked.latestOffset(at(2), asked.getDefaultReadLimit()) == at(3)
