"""Amazon Kinesis Data Streams as a Spark Structured Streaming source: ``spark.readStream.format("kinesis")``."""

from pyspark_kinesis.errors import KinesisSourceError
from pyspark_kinesis.source import DefaultSource

__version__ = "0.1.0"
__all__ = ["DefaultSource", "KinesisSourceError"]
