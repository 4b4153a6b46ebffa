"""``df.write.format("kinesis")`` and ``df.writeStream.format("kinesis")``: rows into a stream, at least once."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
from pyspark.sql.datasource import DataSourceArrowWriter, DataSourceStreamArrowWriter, WriterCommitMessage

from pyspark_kinesis.api.client import shared_client
from pyspark_kinesis.options.put import PutOptions
from pyspark_kinesis.reading.stream import log_to_stderr
from pyspark_kinesis.sink.put_records import Put, Putter


class _Writing:
    """What batch and streaming writes share."""

    def __init__(self, options: PutOptions) -> None:
        self._options = options

    def write(self, iterator: Iterator[pa.RecordBatch]) -> Put:
        """Put the rows of one task; a task that fails leaves behind what it put, and its retry puts it again."""
        options = self._options
        return Putter(options, shared_client(options.region, options.endpoint_url, options.identity)).put(iterator)

    def _tell(self, messages: Sequence[Any], how: str) -> None:
        done = [message for message in messages if isinstance(message, Put)]
        log_to_stderr()  # Spark commits in a process of its own
        logging.getLogger(__name__).info(
            "%s: %d records, %d bytes into %s by %d tasks, %d refusals", how, sum(p.records for p in done),
            sum(p.bytes for p in done), self._options.stream.name if self._options.stream else "several streams",
            len(done), sum(p.retried for p in done),
        )  # fmt: skip


class KinesisWriter(_Writing, DataSourceArrowWriter):
    """A batch write, at least once: what fails half-way leaves behind what it put."""

    def commit(self, messages: list[WriterCommitMessage | None]) -> None:
        self._tell(messages, "written")

    def abort(self, messages: list[WriterCommitMessage | None]) -> None:
        self._tell(messages, "aborted, and in the stream besides what failed tasks put")


class KinesisStreamWriter(_Writing, DataSourceStreamArrowWriter):
    """A streaming write, at least once: a micro-batch that is replayed is put again."""

    def commit(self, messages: list[WriterCommitMessage | None], batchId: int) -> None:  # noqa: N803 (Spark's name)
        self._tell(messages, f"batch {batchId} written")

    def abort(self, messages: list[WriterCommitMessage | None], batchId: int) -> None:  # noqa: N803 (Spark's name)
        self._tell(messages, f"batch {batchId} aborted, and in the stream besides what failed tasks put")
