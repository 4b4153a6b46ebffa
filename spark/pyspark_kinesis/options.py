"""The options of ``spark.readStream.format("kinesis")``, parsed once and frozen."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pyspark_kinesis.errors import OptionError
from pyspark_kinesis.positions import LATEST, TRIM_HORIZON, is_position

AT_TIMESTAMP = "AT_TIMESTAMP"

KNOWN = (
    "streamName",
    "streamARN",
    "region",
    "endpointUrl",
    "startingPosition",
    "startingTimestamp",
    "ledgerLocation",
    "ledgerEndpointUrl",
    "failOnDataLoss",
    "maxRecordsPerTrigger",
    "maxRecordsPerShardPerTrigger",
    "maxBytesPerTrigger",
    "maxFetchSeconds",
    "maxGetRecordsPerSecond",
    "shardsPerTask",
    "tasks",
    "shardRefreshSeconds",
)


@dataclass(frozen=True)
class Options:
    """What a query asks for. Times in seconds, sizes in bytes of record data; limits are per micro-batch."""

    stream: str
    stream_arn: str | None
    region: str
    endpoint_url: str | None
    ledger_location: str
    ledger_endpoint_url: str | None = None
    # "LATEST", or a position for every shard, with ``named`` overriding it shard by shard.
    starting_position: str = TRIM_HORIZON
    named: Mapping[str, str] = field(default_factory=dict)
    fail_on_data_loss: bool = True
    max_records: int | None = None
    max_records_per_shard: int | None = None
    max_bytes: int = 256 * 1024 * 1024
    max_fetch_seconds: float = 10.0
    # The API allows five a shard, shared by all who read the stream; 0 means no pacing (emulators).
    max_calls_per_second: float = 5.0
    shards_per_task: int | None = None
    tasks: int | None = None
    shard_refresh_seconds: float = 30.0

    @property
    def stream_arguments(self) -> dict[str, str]:
        """How requests name the stream."""
        return {"StreamARN": self.stream_arn} if self.stream_arn else {"StreamName": self.stream}


def parse(options: Mapping[str, str]) -> Options:
    """Options from Spark, whose names are case-insensitive.

    Raises OptionError for a name that is unknown (listing those that are known), a value that does not parse, a
    required option that is missing, and options that contradict each other.
    """
    given = {name.lower(): str(value) for name, value in options.items()}
    unknown = sorted(set(given) - {name.lower() for name in KNOWN})
    if unknown:
        raise OptionError(f"unknown option {', '.join(unknown)}; the kinesis source knows: {', '.join(KNOWN)}")

    def text(name: str) -> str | None:
        return given.get(name.lower())

    stream, arn = text("streamName"), text("streamARN")
    if bool(stream) == bool(arn):
        raise OptionError("set exactly one of streamName and streamARN")
    region = text("region") or "us-east-1"
    if arn:
        parts = arn.split(":")
        if len(parts) != 6 or parts[2] != "kinesis" or not parts[5].startswith("stream/"):
            raise OptionError(f"streamARN {arn!r} is not of the form arn:aws:kinesis:<region>:<account>:stream/<name>")
        if text("region") not in (None, parts[3]):
            raise OptionError(f"region {region!r} contradicts streamARN {arn!r}: drop the region option")
        region, stream = parts[3], parts[5].removeprefix("stream/")
    ledger = text("ledgerLocation")
    if not ledger:
        raise OptionError("ledgerLocation is required: a folder that lives as long as the checkpoint location")
    if text("shardsPerTask") and text("tasks"):
        raise OptionError("shardsPerTask and tasks contradict each other: set one")
    starting, named = _starting(text("startingPosition") or TRIM_HORIZON, text("startingTimestamp"))
    return Options(
        stream=str(stream),
        stream_arn=arn,
        region=region,
        endpoint_url=text("endpointUrl"),
        ledger_location=ledger,
        ledger_endpoint_url=text("ledgerEndpointUrl"),
        starting_position=starting,
        named=named,
        fail_on_data_loss=_boolean("failOnDataLoss", text("failOnDataLoss"), Options.fail_on_data_loss),
        max_records=_count("maxRecordsPerTrigger", text("maxRecordsPerTrigger"), None),
        max_records_per_shard=_count("maxRecordsPerShardPerTrigger", text("maxRecordsPerShardPerTrigger"), None),
        max_bytes=_count("maxBytesPerTrigger", text("maxBytesPerTrigger"), Options.max_bytes) or Options.max_bytes,
        max_fetch_seconds=_seconds("maxFetchSeconds", text("maxFetchSeconds"), Options.max_fetch_seconds),
        max_calls_per_second=_seconds(
            "maxGetRecordsPerSecond", text("maxGetRecordsPerSecond"), Options.max_calls_per_second, zero=True
        ),
        shards_per_task=_count("shardsPerTask", text("shardsPerTask"), None),
        tasks=_count("tasks", text("tasks"), None),
        shard_refresh_seconds=_seconds(
            "shardRefreshSeconds", text("shardRefreshSeconds"), Options.shard_refresh_seconds
        ),
    )


def _starting(position: str, timestamp: str | None) -> tuple[str, dict[str, str]]:
    if (position.upper() == AT_TIMESTAMP) != (timestamp is not None):
        raise OptionError("startingPosition AT_TIMESTAMP and startingTimestamp go together: set both or neither")
    if timestamp is not None:
        try:
            moment = datetime.fromisoformat(timestamp)
        except ValueError as error:
            raise OptionError(f"startingTimestamp {timestamp!r} is not ISO 8601, as 2026-01-31T12:00:00Z is") from error
        # A time without a zone is UTC: what it means must not depend on the machine.
        return f"@{(moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp():.3f}", {}
    if position.upper() in (TRIM_HORIZON, LATEST):
        return position.upper(), {}
    try:
        named = json.loads(position)
    except ValueError:
        named = None
    if not isinstance(named, dict) or not all(isinstance(at, str) and is_position(at) for at in named.values()):
        raise OptionError(
            f"startingPosition {position!r} is none of {TRIM_HORIZON}, {LATEST}, {AT_TIMESTAMP} or a JSON object "
            '{"shardId-…": "sequence number after which to start", …}'
        )
    return TRIM_HORIZON, named


def _boolean(name: str, value: str | None, default: bool) -> bool:
    if value is None:
        return default
    if value.lower() not in ("true", "false"):
        raise OptionError(f"{name} must be true or false, not {value!r}")
    return value.lower() == "true"


def _count(name: str, value: str | None, default: int | None) -> int | None:
    if value is None:
        return default
    try:
        number = int(value)
    except ValueError:
        number = 0
    if number < 1:
        raise OptionError(f"{name} must be a whole number above 0, not {value!r}")
    return number


def _seconds(name: str, value: str | None, default: float, *, zero: bool = False) -> float:
    if value is None:
        return default
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not (0 < number < 1e9 or (zero and number == 0)):
        raise OptionError(f"{name} must be a number above 0{' or 0' if zero else ''}, not {value!r}")
    return number
