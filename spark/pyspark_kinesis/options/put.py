"""The options and columns of ``df.write.format("kinesis")`` and ``df.writeStream.format("kinesis")``."""

from collections.abc import Mapping
from dataclasses import dataclass

from pyspark.sql.types import BinaryType, DataType, StringType, StructType

from pyspark_kinesis.api.credentials import DEFAULT as DEFAULT_IDENTITY
from pyspark_kinesis.api.credentials import Identity, region_of
from pyspark_kinesis.errors import OptionError
from pyspark_kinesis.options.stream import Stream, identity_of, refuse_unknown, streams_of
from pyspark_kinesis.options.values import count_of, seconds_of

KNOWN_TO_WRITER = (
    "streamName", "streamARN", "region", "endpointUrl", "roleArn", "roleSessionName", "roleExternalId",
    "stsEndpointUrl", "awsProfile", "maxRecordsPerPut", "maxBytesPerPut", "maxRecordBytes", "requestsInFlight",
    "patienceSeconds",
)  # fmt: skip
"""Names of the options of ``write`` and ``writeStream``."""
_COLUMNS: dict[str, tuple[type[DataType], ...]] = {
    "data": (BinaryType, StringType),
    "partitionKey": (StringType,),
    "explicitHashKey": (StringType,),
    "streamName": (StringType,),
}
_TAKES = (
    "data (binary or string), and optionally partitionKey, explicitHashKey and streamName (strings): select these, "
    "by these names"
)


@dataclass(frozen=True)
class PutOptions:
    """What a write asks for. Sizes in bytes; a record's is its data's and its partition key's."""

    stream: Stream | None
    """``streamName`` or ``streamARN``; None: each row names its own."""
    region: str
    """``region``: else that of the ARN, of the environment or of the profile."""
    endpoint_url: str | None
    """``endpointUrl``: where Kinesis is not AWS itself."""
    identity: Identity = DEFAULT_IDENTITY
    """``awsProfile``, ``roleArn`` and what goes with it: which credentials are used."""
    # A PutRecords call may have 500 records. Its bytes and a record's are the limits that hold for every stream: AWS
    # takes twice as much a call by now, and larger records where a stream's MaxRecordSizeInKiB was raised.
    records_per_put: int = 500
    """``maxRecordsPerPut``: records of a PutRecords call, 500 at most."""
    bytes_per_put: int = 5 * 1024 * 1024
    """``maxBytesPerPut``: bytes of a PutRecords call."""
    record_bytes: int = 1024 * 1024
    """``maxRecordBytes``: bytes of a record; a larger one fails the write."""
    requests_in_flight: int = 4
    """``requestsInFlight``: PutRecords calls that a task has under way at once, 32 at most."""
    patience_seconds: float = 60.0
    """``patienceSeconds``: how long records that the service refuses for now are put again."""


def parse_put(options: Mapping[str, str], schema: StructType) -> PutOptions:
    """Options of a write of rows of a schema. The stream is an option, unless the rows have a column streamName.

    Raises:
        OptionError: as ``options.stream.parse`` says, or a column cannot be put, or ``data`` is missing.
        AccessError: as ``options.stream.parse`` says.
    """
    _check_columns(schema)
    given = {name.lower(): str(value) for name, value in options.items()}
    # Spark's own, which come with every streaming write.
    for name in ("path", "checkpointlocation"):
        given.pop(name, None)
    refuse_unknown(given, KNOWN_TO_WRITER)

    def text(name: str) -> str | None:
        return given.get(name.lower())

    def count(name: str, default: int, most: int | None = None) -> int:
        value = count_of(name, text(name), default) or default
        if most is not None and value > most:
            raise OptionError(f"{name} is at most {most}, not {value}: the API takes no more")
        return value

    stream, region = None, text("region") or region_of(text("awsProfile"))
    if "streamName" not in schema.names or text("streamName") or text("streamARN"):
        streams, region = streams_of(text("streamName"), text("streamARN"), text("region"), text("awsProfile"))
        if len(streams) > 1:
            raise OptionError("streamName and streamARN name one stream here: for several, add a column streamName")
        stream = streams[0]
    return PutOptions(
        stream,
        region,
        text("endpointUrl"),
        identity_of(text),
        records_per_put=count("maxRecordsPerPut", PutOptions.records_per_put, 500),
        bytes_per_put=count("maxBytesPerPut", PutOptions.bytes_per_put),
        record_bytes=count("maxRecordBytes", PutOptions.record_bytes),
        requests_in_flight=count("requestsInFlight", PutOptions.requests_in_flight, 32),
        patience_seconds=seconds_of("patienceSeconds", text("patienceSeconds"), PutOptions.patience_seconds),
    )


def _check_columns(schema: StructType) -> None:
    if wrong := [field.name for field in schema.fields if field.name not in _COLUMNS]:
        raise OptionError(f"column {', '.join(wrong)}: the kinesis writer takes {_TAKES}")
    if "data" not in schema.names:
        raise OptionError(f"there is no column data: the kinesis writer takes {_TAKES}")
    for field in schema.fields:
        if not isinstance(field.dataType, _COLUMNS[field.name]):
            raise OptionError(
                f"column {field.name} is {field.dataType.simpleString()}: the kinesis writer takes {_TAKES}"
            )
