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
    """``format("kinesis")``: a Kinesis stream, each record once.

    Spark makes it by its name, from options; nobody calls it otherwise. Options are parsed by ``options.stream.parse``
    for ``readStream``, ``options.batch.parse_batch`` for ``read`` and ``options.put.parse_put`` for ``write`` and
    ``writeStream``.
    """

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        where = shipped_in()
        return super().__reduce_ex__(protocol) if where is None else (maker(where), (self.options,))

    @classmethod
    def name(cls) -> str:
        """The name that Spark knows the format by."""
        return "kinesis"

    def schema(self) -> StructType:
        """The columns of a read, whatever the options: one row a record.

        Raises:
            OptionError: an option of the read is wrong; so ``load()`` fails, and not the query when it starts.
            AccessError: ``awsProfile`` names a profile that is not there.
        """
        # Also the earliest moment at which options can be refused: load() rather than start(). What is missing for a
        # stream shows when it starts.
        if any(name.lower() == "ledgerlocation" for name in self.options):
            self._parsed()
        else:
            parse_batch(self.options)
        return SCHEMA

    def streamReader(self, schema: StructType) -> StreamReader:
        """The reader of ``readStream``: with admission control from Spark 4.2 on.

        Raises:
            OptionError: an option is wrong.
        """
        return NewestStreamReader(self._parsed(), schema)

    def reader(self, schema: StructType) -> KinesisBatchReader:
        """The reader of ``read``: the records between two points, planned when the query runs.

        Raises:
            OptionError: an option is wrong, or the schema is another one than that of the source.
        """
        check_schema(schema)
        options = parse_batch(self.options)
        return FilteringBatchReader(options) if options.filter_pushdown else KinesisBatchReader(options)

    def writer(self, schema: StructType, overwrite: bool) -> DataSourceWriter:
        """The writer of ``write``: each row is put at least once.

        Raises:
            OptionError: an option is wrong, a column cannot be put, or the mode is overwrite.
        """
        if overwrite:
            raise OptionError('a stream cannot be overwritten: use mode("append")')
        return KinesisWriter(parse_put(self.options, schema))

    def streamWriter(self, schema: StructType, overwrite: bool) -> DataSourceStreamWriter:
        """The writer of ``writeStream``: each row is put at least once.

        Raises:
            OptionError: an option is wrong, or a column cannot be put.
        """
        return KinesisStreamWriter(parse_put(self.options, schema))

    def _parsed(self) -> Options:
        options = parse(self.options)
        store_of(options)
        return options
