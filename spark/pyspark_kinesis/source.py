"""The data source as Spark sees it."""

from typing import Any, SupportsIndex

from pyspark.sql.datasource import DataSource, DataSourceStreamWriter, DataSourceWriter
from pyspark.sql.types import StructType

from pyspark_kinesis.errors import OptionError
from pyspark_kinesis.options.batch import parse_batch
from pyspark_kinesis.options.put import parse_put
from pyspark_kinesis.options.stream import Options, parse
from pyspark_kinesis.reading.batch import FilteringBatchReader, KinesisBatchReader
from pyspark_kinesis.reading.rows import SCHEMA, check_schema
from pyspark_kinesis.reading.stream import StreamReader, store_of
from pyspark_kinesis.shipped import maker, shipped_in
from pyspark_kinesis.sink.writer import KinesisStreamWriter, KinesisWriter

try:
    from pyspark_kinesis.reading.stream_42 import AdmissionStreamReader as NewestStreamReader
except ImportError:  # Spark 4.1 and older have no admission control for Python sources
    from pyspark_kinesis.reading.stream_41 import TicketStreamReader as NewestStreamReader  # type: ignore[assignment]


class DefaultSource(DataSource):
    """``spark.readStream.format("kinesis")``: a Kinesis stream, each record once. Options: options.stream.KNOWN."""

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        where = shipped_in()
        return super().__reduce_ex__(protocol) if where is None else (maker(where), (self.options,))

    @classmethod
    def name(cls) -> str:
        return "kinesis"

    def schema(self) -> StructType:
        # Also the earliest moment at which options can be refused: load() rather than start(). What is missing for a
        # stream shows when it starts.
        if any(name.lower() == "ledgerlocation" for name in self.options):
            self._parsed()
        else:
            parse_batch(self.options)
        return SCHEMA

    def streamReader(self, schema: StructType) -> StreamReader:
        return NewestStreamReader(self._parsed(), schema)

    def reader(self, schema: StructType) -> KinesisBatchReader:
        check_schema(schema)
        options = parse_batch(self.options)
        return FilteringBatchReader(options) if options.filter_pushdown else KinesisBatchReader(options)

    def writer(self, schema: StructType, overwrite: bool) -> DataSourceWriter:
        if overwrite:
            raise OptionError('a stream cannot be overwritten: use mode("append")')
        return KinesisWriter(parse_put(self.options, schema))

    def streamWriter(self, schema: StructType, overwrite: bool) -> DataSourceStreamWriter:
        return KinesisStreamWriter(parse_put(self.options, schema))

    def _parsed(self) -> Options:
        options = parse(self.options)
        store_of(options)
        return options
