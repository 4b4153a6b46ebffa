"""The options of ``spark.readStream.format("kinesis")``, parsed once and frozen."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timezone

from dateutil.parser import isoparse

from pyspark_kinesis.api.credentials import DEFAULT as DEFAULT_IDENTITY
from pyspark_kinesis.api.credentials import Identity, region_of
from pyspark_kinesis.api.positions import LATEST, TRIM_HORIZON, at_time, is_position, key_of, parts_of
from pyspark_kinesis.api.service_clock import ServiceClock
from pyspark_kinesis.errors import OptionError
from pyspark_kinesis.options.aliases import advice, is_secret
from pyspark_kinesis.options.values import boolean_of, count_of, seconds_of

AT_TIMESTAMP = "AT_TIMESTAMP"
"""The ``startingPosition`` that goes with ``startingTimestamp``."""
FUTURE_SECONDS = 5.0
"""Times that are ahead of the service's clock by less are waited for: that much two clocks may differ unseen."""
STREAM_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")
"""What the name of a stream, or of a consumer, looks like."""
_CONSUMER_ARN = re.compile(r"arn:[^:]+:kinesis:(?P<region>[^:]+):\d*:stream/(?P<stream>[^/]+)/consumer/[^/:]+:\d+")

KNOWN = (
    "streamName",
    "streamARN",
    "region",
    "roleArn",
    "roleSessionName",
    "roleExternalId",
    "stsEndpointUrl",
    "awsProfile",
    "endpointUrl",
    "startingPosition",
    "startingTimestamp",
    "ledgerLocation",
    "ledgerEndpointUrl",
    "consumerName",
    "consumerARN",
    "failOnDataLoss",
    "maxRecordsPerTrigger",
    "maxRecordsPerShardPerTrigger",
    "maxBytesPerTrigger",
    "maxBytesPerShardPerTrigger",
    "maxFetchSeconds",
    "maxGetRecordsPerSecond",
    "shardsPerTask",
    "tasks",
    "shardRefreshSeconds",
)
"""Names of the options of ``readStream``; Spark takes them in any case."""


@dataclass(frozen=True)
class Stream:
    """One stream that a query reads."""

    name: str
    """Its name, by which offsets and messages know it."""
    arn: str | None = None
    """Its ARN, where ``streamARN`` named it: it may be another account's then."""

    @property
    def arguments(self) -> dict[str, str]:
        """How requests name it."""
        return {"StreamARN": self.arn} if self.arn else {"StreamName": self.name}


@dataclass(frozen=True)
class Options:
    """What a query asks for. Times in seconds, sizes in bytes of record data; limits are per micro-batch."""

    streams: tuple[Stream, ...]
    """``streamName`` or ``streamARN``: the streams, all of one region."""
    region: str
    """``region``: else that of the ARNs, of the environment or of the profile."""
    endpoint_url: str | None
    """``endpointUrl``: where Kinesis is not AWS itself."""
    ledger_location: str
    """``ledgerLocation``: the folder of the ledger, which must live as long as the checkpoint location."""
    ledger_endpoint_url: str | None = None
    """``ledgerEndpointUrl``: of a ledger on an S3 that is not AWS itself."""
    identity: Identity = DEFAULT_IDENTITY
    """``awsProfile``, ``roleArn`` and what goes with it: which credentials are used."""
    starting_position: str = TRIM_HORIZON
    """``startingPosition``, ``startingTimestamp``: LATEST, or a position for every shard."""
    named: Mapping[str, str] = field(default_factory=dict)
    """``startingPosition`` as JSON: by key of a shard, a position instead of ``starting_position``."""
    consumer_name: str | None = None
    """``consumerName``: enhanced fan-out by a consumer of this name in each stream. Neither: GetRecords."""
    consumer_arns: Mapping[str, str] = field(default_factory=dict)
    """``consumerARN``: by stream, the consumer to use."""
    fail_on_data_loss: bool = True
    """``failOnDataLoss``: whether records that aged out unread are an error, or are skipped."""
    max_records: int | None = None
    """``maxRecordsPerTrigger``; None: no limit."""
    max_records_per_shard: int | None = None
    """``maxRecordsPerShardPerTrigger``; None: no limit."""
    max_bytes: int = 256 * 1024 * 1024
    """``maxBytesPerTrigger``."""
    max_bytes_per_shard: int | None = None
    """``maxBytesPerShardPerTrigger``; None: no limit."""
    max_fetch_seconds: float = 10.0
    """``maxFetchSeconds``: how long a task fetches before it hands on what it has."""
    max_calls_per_second: float = 5.0
    """``maxGetRecordsPerSecond``, a shard: the API allows five, shared by all readers; 0: no pacing (emulators)."""
    shards_per_task: int | None = None
    """``shardsPerTask``; by default each shard that is behind has a task of its own, and the others share tasks."""
    tasks: int | None = None
    """``tasks``: how many a micro-batch has, instead of ``shards_per_task``."""
    shard_refresh_seconds: float = 30.0
    """``shardRefreshSeconds``: how often shards are listed."""

    @property
    def fan_out(self) -> bool:
        """Whether records come by SubscribeToShard."""
        return bool(self.consumer_name or self.consumer_arns)

    def stream_of(self, key: str) -> Stream:
        """The stream of a shard, by its key.

        Raises:
            OptionError: the options do not name it.
        """
        return self.stream_named(parts_of(key)[0])

    def stream_named(self, name: str) -> Stream:
        """A stream of the query.

        Raises:
            OptionError: the options do not name it; a checkpoint may still know it.
        """
        for stream in self.streams:
            if stream.name == name:
                return stream
        raise OptionError(no_longer_named([name], self.streams))


def no_longer_named(names: Sequence[str], streams: Sequence[Stream]) -> str:
    """What to say where a checkpoint holds positions in streams that the options do not name."""
    return (
        f"the checkpoint holds positions in {', '.join(names)}, and the options only name "
        f"{', '.join(stream.name for stream in streams)}: was a stream taken out of streamName or streamARN, or "
        "renamed? Name it again, set failOnDataLoss=false to go on without what is unread of it, or start over with a "
        "new checkpoint location"
    )


def parse(options: Mapping[str, str]) -> Options:
    """Options of ``readStream`` from Spark, whose names are case-insensitive.

    Raises:
        OptionError: a name is unknown (the message lists the known ones), a value does not parse, a required option is
            missing, or options contradict each other.
        AccessError: no option names the region, and ``awsProfile`` is a profile that is not there.
    """
    given = {name.lower(): str(value) for name, value in options.items()}
    refuse_unknown(given)

    def text(name: str) -> str | None:
        return given.get(name.lower())

    streams, region = streams_of(text("streamName"), text("streamARN"), text("region"), text("awsProfile"))
    ledger = text("ledgerLocation")
    if not ledger:
        raise OptionError("ledgerLocation is required: a folder that lives as long as the checkpoint location")
    if text("shardsPerTask") and text("tasks"):
        raise OptionError("shardsPerTask and tasks contradict each other: set one")
    starting, named = _starting(text("startingPosition") or TRIM_HORIZON, text("startingTimestamp"), streams)
    return Options(
        streams=streams,
        region=region,
        identity=identity_of(text),
        endpoint_url=text("endpointUrl"),
        ledger_location=ledger,
        ledger_endpoint_url=text("ledgerEndpointUrl"),
        starting_position=starting,
        named=named,
        consumer_name=text("consumerName"),
        consumer_arns=_consumers(text("consumerName"), text("consumerARN"), streams, region),
        fail_on_data_loss=boolean_of("failOnDataLoss", text("failOnDataLoss"), Options.fail_on_data_loss),
        max_records=count_of("maxRecordsPerTrigger", text("maxRecordsPerTrigger"), None),
        max_records_per_shard=count_of("maxRecordsPerShardPerTrigger", text("maxRecordsPerShardPerTrigger"), None),
        max_bytes=count_of("maxBytesPerTrigger", text("maxBytesPerTrigger"), Options.max_bytes) or Options.max_bytes,
        max_bytes_per_shard=count_of("maxBytesPerShardPerTrigger", text("maxBytesPerShardPerTrigger"), None),
        max_fetch_seconds=seconds_of("maxFetchSeconds", text("maxFetchSeconds"), Options.max_fetch_seconds),
        max_calls_per_second=seconds_of(
            "maxGetRecordsPerSecond", text("maxGetRecordsPerSecond"), Options.max_calls_per_second, zero=True
        ),
        shards_per_task=count_of("shardsPerTask", text("shardsPerTask"), None),
        tasks=count_of("tasks", text("tasks"), None),
        shard_refresh_seconds=seconds_of(
            "shardRefreshSeconds", text("shardRefreshSeconds"), Options.shard_refresh_seconds
        ),
    )


def refuse_unknown(given: Mapping[str, str], known_names: Sequence[str] = KNOWN) -> None:
    """Check the names of options; those of other connectors are answered with the name to use here.

    Raises:
        OptionError: a name is not known, is another connector's, or would hold a secret.
    """
    ours = {name.lower(): name for name in known_names}
    unknown = sorted(set(given) - set(ours))
    if secrets := [name for name in unknown if is_secret(name)]:
        raise OptionError(
            f"{', '.join(secrets)}: credentials are not options, as options are shown in plans, logs and the UI. Set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, awsProfile, or roleArn"
        )
    if known := [said for name in unknown if (said := advice(name))]:
        raise OptionError(f"{'; '.join(known)}. Known are: {', '.join(known_names)}")
    if unknown:
        raise OptionError(f"unknown option {', '.join(unknown)}; known are: {', '.join(known_names)}")


def streams_of(
    names: str | None, arns: str | None, region: str | None, profile: str | None = None
) -> tuple[tuple[Stream, ...], str]:
    """The streams, and the region they share: that of the option, of the ARNs, or what ``region_of`` finds.

    Raises:
        OptionError: neither names nor ARNs are given, or both; one is malformed or named twice; the regions differ.
        AccessError: the profile is not there.
    """
    if bool(names) == bool(arns):
        raise OptionError("set exactly one of streamName and streamARN")
    if names:
        streams = tuple(Stream(name.strip()) for name in names.split(","))
        if wrong := [stream.name for stream in streams if not STREAM_NAME.fullmatch(stream.name)]:
            raise OptionError(f"streamName {', '.join(map(repr, wrong))}: a name has letters, digits, '_', '-' and '.'")
    else:
        found, regions = [], set()
        for arn in (part.strip() for part in str(arns).split(",")):
            parts = arn.split(":")
            if len(parts) != 6 or parts[2] != "kinesis" or not parts[5].startswith("stream/"):
                raise OptionError(
                    f"streamARN {arn!r} is not of the form arn:aws:kinesis:<region>:<account>:stream/<name>"
                )
            found.append(Stream(parts[5].removeprefix("stream/"), arn))
            regions.add(parts[3])
        if len(regions | ({region} if region else set())) > 1:
            of_region = f", and region {region!r} contradicts streamARN" if region and len(regions) == 1 else ""
            raise OptionError(f"the streams of a query are in one region{of_region}: {arns}, drop the region option")
        streams, region = tuple(found), regions.pop()
    if len({stream.name for stream in streams}) < len(streams):
        raise OptionError("a query cannot read two streams of one name: use a query for each")
    return streams, region or region_of(profile)


def _consumers(name: str | None, arns: str | None, streams: tuple[Stream, ...], region: str) -> dict[str, str]:
    """The ARN of each stream's consumer, if ARNs are given. Raises OptionError where one is missing or another's."""
    if name and arns:
        raise OptionError(
            "consumerName and consumerARN contradict each other: set consumerName to have a consumer registered where "
            "there is none, or consumerARN to use one that is there"
        )
    if name and not STREAM_NAME.fullmatch(name):
        raise OptionError(f"consumerName {name!r}: a name has letters, digits, '_', '-' and '.', at most 128")
    found = {}
    for arn in (part.strip() for part in (arns or "").split(",") if part.strip()):
        parts = _CONSUMER_ARN.fullmatch(arn)
        if parts is None:
            raise OptionError(
                f"consumerARN {arn!r} is not of the form arn:aws:kinesis:<region>:<account>:stream/<stream>/consumer/"
                "<name>:<number>, as RegisterStreamConsumer and ListStreamConsumers give it"
            )
        of = next((stream for stream in streams if stream.name == parts["stream"]), None)
        if of is None or parts["stream"] in found or not arn.startswith(f"{of.arn or ''}") or parts["region"] != region:
            raise OptionError(
                f"consumerARN {arn} is not a consumer of a stream of this query in {region}, or the second of one: "
                "give one for each stream, and the region of both"
            )
        found[parts["stream"]] = arn
    if found and (without := [stream.name for stream in streams if stream.name not in found]):
        raise OptionError(f"consumerARN names no consumer of {', '.join(without)}: give one for each, or consumerName")
    return found


def identity_of(text: Callable[[str], str | None]) -> Identity:
    """Which credentials are used, from options.

    Raises:
        OptionError: an option that goes with a role is set, and ``roleArn`` is not.
    """
    role = text("roleArn")
    if role is None and (lone := [n for n in ("roleSessionName", "roleExternalId", "stsEndpointUrl") if text(n)]):
        raise OptionError(f"{', '.join(lone)} without roleArn: set the role to assume")
    return Identity(
        profile=text("awsProfile"),
        role_arn=role,
        role_session_name=text("roleSessionName") or Identity.role_session_name,
        role_external_id=text("roleExternalId"),
        sts_endpoint_url=text("stsEndpointUrl"),
    )


def _starting(position: str, timestamp: str | None, streams: tuple[Stream, ...]) -> tuple[str, dict[str, str]]:
    if (position.upper() == AT_TIMESTAMP) != (timestamp is not None):
        raise OptionError("startingPosition AT_TIMESTAMP and startingTimestamp go together: set both or neither")
    if timestamp is not None:
        return at_iso_time("startingTimestamp", timestamp), {}
    if position.upper() in (TRIM_HORIZON, LATEST):
        return position.upper(), {}
    return TRIM_HORIZON, named_positions(
        "startingPosition", position, streams, f"{TRIM_HORIZON}, {LATEST}, {AT_TIMESTAMP}"
    )


def at_iso_time(option: str, timestamp: str) -> str:
    """The position of a time in ISO 8601, in whole milliseconds as arrivals have them; UTC if it names no zone.

    Raises:
        OptionError: the string is not such a time.
    """
    try:
        # Not datetime.fromisoformat: that of Python 3.10 knows no Z.
        moment = isoparse(timestamp)
    except ValueError as error:
        raise OptionError(f"{option} {timestamp!r} is not ISO 8601, as 2026-01-31T12:00:00Z is") from error
    # A time without a zone is UTC: what it means must not depend on the machine.
    return at_time((moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp())


def refuse_future(clock: ServiceClock, since: float) -> None:
    """Check a starting time (epoch seconds) against the service's clock.

    Raises:
        OptionError: the clock has not reached it, so that Kinesis would refuse it.
    """
    if (ahead := clock.seconds_until(since)) > FUTURE_SECONDS:
        raise OptionError(
            f"startingTimestamp is {ahead:.0f} s in the future by the service's clock, where nothing can be read yet: "
            f"choose a time that has passed, or startingPosition {LATEST}"
        )


def named_positions(option: str, text: str, streams: tuple[Stream, ...], words: str) -> dict[str, str]:
    """Positions by shard key, from JSON by shard id, or by stream and shard id.

    Raises:
        OptionError: the string is not such JSON; the message says that ``words`` would do, too.
    """
    try:
        given = json.loads(text)
    except ValueError:
        given = None
    nested = isinstance(given, dict) and any(isinstance(value, dict) for value in given.values())
    if isinstance(given, dict) and not nested:
        given = {streams[0].name: given} if len(streams) == 1 or not given else None
    if (
        not isinstance(given, dict)
        or not set(given) <= {stream.name for stream in streams}
        or not all(isinstance(at, str) and is_position(at) for shards in given.values() for at in shards.values())
    ):
        raise OptionError(
            f"{option} {text!r} is none of {words} or a JSON object "
            '{"shardId-…": "sequence number after which to start", …}, with several streams one in each of '
            '{"stream": {…}}'
        )
    return {key_of(stream, shard): at for stream, shards in given.items() for shard, at in shards.items()}
