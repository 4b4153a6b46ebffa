"""Writing rows beside a table, to be checked and then published or discarded."""

import uuid
from typing import NamedTuple

from pyspark.sql import DataFrame, SparkSession

from tidemark.core.settings import Settings
from tidemark.lake.files.data_files import StagedFile
from tidemark.lake.files.staged import STAGED_FOLDER, discard, staged_files
from tidemark.lake.tables import Table


class Staged(NamedTuple):
    """Rows of one table that no reader sees yet: where they are, and their files."""

    table: Table
    folder: str
    files: list[StagedFile]

    @property
    def rows(self) -> int:
        """How many rows were written."""
        return sum(file.rows for file in self.files)

    def read(self, spark: SparkSession, like: DataFrame) -> DataFrame:
        """The staged rows, with the schema of the data frame that they were written from."""
        if not self.files:
            return like.limit(0)
        return spark.read.schema(like.schema).parquet(f"{self.table.uri}/{self.folder}").select(*like.columns)

    def discard(self, settings: Settings) -> None:
        """Remove the files."""
        discard(self.table, self.folder, settings)


def stage(rows: DataFrame, table: Table, settings: Settings) -> Staged:
    """Write rows in the table's columns as Parquet below its folder, by partition, in files of a sensible size."""
    folder = f"{STAGED_FOLDER}/{uuid.uuid4().hex}"
    (
        rows.select(*table.schema.names)
        .hint("rebalance", *table.partition_by)
        .write.option("mapreduce.fileoutputcommitter.marksuccessfuljobs", "false")
        .partitionBy(*table.partition_by)
        .parquet(f"{table.uri}/{folder}")
    )
    return Staged(table, folder, staged_files(table, folder, settings))
