"""The data source as Spark sees it."""

from pyspark.sql.datasource import DataSource
from pyspark.sql.types import StructType

from pyspark_kinesis.options import Options, parse
from pyspark_kinesis.rows import SCHEMA
from pyspark_kinesis.stream_reader import StreamReader, store_of

try:
    from pyspark_kinesis.stream_reader_42 import AdmissionStreamReader as NewestStreamReader
except ImportError:  # Spark 4.1 and older have no admission control for Python sources
    from pyspark_kinesis.stream_reader_41 import TicketStreamReader as NewestStreamReader  # type: ignore[assignment]


class DefaultSource(DataSource):
    """``spark.readStream.format("kinesis")``: a Kinesis stream, each record once. Options: options.KNOWN."""

    @classmethod
    def name(cls) -> str:
        return "kinesis"

    def schema(self) -> StructType:
        # Also the earliest moment at which options can be refused: load() rather than start().
        self._parsed()
        return SCHEMA

    def streamReader(self, schema: StructType) -> StreamReader:
        return NewestStreamReader(self._parsed(), schema)

    def _parsed(self) -> Options:
        options = parse(self.options)
        store_of(options)
        return options
