"""Options are parsed once; what is wrong with them is said in words that help."""

import pytest

from pyspark_kinesis.errors import OptionError
from pyspark_kinesis.options.aliases import FOREIGN, NEEDLESS
from pyspark_kinesis.options.batch import parse_batch
from pyspark_kinesis.options.put import KNOWN_TO_WRITER
from pyspark_kinesis.options.stream import KNOWN, Stream, parse

REQUIRED = {"streamName": "s", "ledgerLocation": "/l"}
ARN = "arn:aws:kinesis:eu-west-1:123456789012:stream/clicks"
CONSUMER = f"{ARN}/consumer/spark:1700000000"


def test_names_are_case_insensitive_and_defaults_hold() -> None:
    options = parse({"STREAMNAME": "s", "ledgerlocation": "/l", "maxrecordspertrigger": "7"})
    assert (options.streams, options.region, options.starting_position) == ((Stream("s"),), "us-east-1", "TRIM_HORIZON")
    assert options.fail_on_data_loss
    assert options.max_records == 7
    assert options.stream_of("s/shardId-0").arguments == {"StreamName": "s"}


def test_an_arn_says_region_and_name() -> None:
    options = parse({"streamARN": ARN, "ledgerLocation": "/l"})
    assert (options.streams, options.region) == ((Stream("clicks", ARN),), "eu-west-1")
    assert options.streams[0].arguments == {"StreamARN": ARN}


def test_several_streams_are_of_one_region_and_of_different_names() -> None:
    options = parse({"streamName": "a, b", "ledgerLocation": "/l", "startingPosition": '{"b": {"shardId-1": "7"}}'})
    assert options.streams == (Stream("a"), Stream("b"))
    assert options.named == {"b/shardId-1": "7"}
    two = f"{ARN},{ARN.replace('clicks', 'views')}"
    assert [s.name for s in parse({"streamARN": two, "ledgerLocation": "/l"}).streams] == ["clicks", "views"]


@pytest.mark.parametrize(("name", "ours"), list(FOREIGN.items()))
def test_names_of_other_connectors_are_answered_with_ours(name: str, ours: str) -> None:
    assert ours in {*KNOWN, *KNOWN_TO_WRITER}
    with pytest.raises(OptionError, match=f"{name} is {ours} here"):
        parse({**REQUIRED, name: "x"})


@pytest.mark.parametrize("name", NEEDLESS)
def test_what_needs_no_option_here_is_answered_with_why(name: str) -> None:
    with pytest.raises(OptionError, match=f"{name} is not needed here: "):
        parse({**REQUIRED, name: "x"})


@pytest.mark.parametrize(
    "name", ["awsAccessKey", "kinesis.awsAccessKeyId", "kinesis.sessionToken", "aws_secret_access_key", "secretKey"]
)
def test_credentials_are_refused_under_any_name_without_showing_them(name: str) -> None:
    with pytest.raises(OptionError, match="credentials are not options") as error:
        parse({**REQUIRED, name: "hush"})
    assert "hush" not in str(error.value)


def test_a_role_is_assumed_by_option_and_secrets_are_refused() -> None:
    identity = parse({**REQUIRED, "roleArn": "arn:aws:iam::1:role/r", "roleExternalId": "e"}).identity
    assert (identity.role_arn, identity.role_external_id) == ("arn:aws:iam::1:role/r", "e")
    with pytest.raises(OptionError, match="credentials are not options"):
        parse({**REQUIRED, "awsSecretKey": "x"})


def test_an_unknown_option_is_answered_with_all_known_ones() -> None:
    with pytest.raises(OptionError) as error:
        parse({**REQUIRED, "maxRecordPerTrigger": "1"})
    assert "maxrecordpertrigger" in str(error.value)
    assert all(name in str(error.value) for name in KNOWN)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"streamARN": ARN}, "exactly one of"),
        ({"streamName": ""}, "exactly one of"),
        ({"streamName": "a b"}, "a name has letters"),
        ({"streamName": "a,a"}, "two streams of one name"),
        ({"streamName": "", "streamARN": f"{ARN},{ARN.replace('eu-west-1', 'us-east-1')}"}, "in one region"),
        ({"streamName": "a,b", "startingPosition": '{"shardId-0": "12"}'}, "is none of"),
        ({"startingPosition": '{"other": {"shardId-0": "12"}}'}, "is none of"),
        ({"roleSessionName": "x"}, "without roleArn"),
        ({"streamName": "", "streamARN": "arn:aws:s3:::bucket"}, "not of the form"),
        ({"streamName": "", "streamARN": ARN, "region": "us-east-1"}, "contradicts"),
        ({"ledgerLocation": ""}, "ledgerLocation is required"),
        ({"startingPosition": "EARLIEST"}, "is none of"),
        ({"startingPosition": '{"shardId-0": 12}'}, "is none of"),
        ({"startingPosition": '{"shardId-0": "twelve"}'}, "is none of"),
        ({"startingPosition": "AT_TIMESTAMP"}, "go together"),
        ({"startingTimestamp": "2026-01-01"}, "go together"),
        ({"startingPosition": "AT_TIMESTAMP", "startingTimestamp": "yesterday"}, "ISO 8601"),
        ({"failOnDataLoss": "maybe"}, "true or false"),
        ({"maxRecordsPerTrigger": "0"}, "above 0"),
        ({"maxBytesPerTrigger": "1 GB"}, "above 0"),
        ({"maxFetchSeconds": "nan"}, "above 0"),
        ({"consumerName": "c", "consumerARN": CONSUMER}, "contradict each other"),
        ({"consumerName": "a b"}, "a name has letters"),
        ({"consumerARN": "c"}, "not of the form arn:aws:kinesis"),
        ({"consumerARN": CONSUMER}, "not a consumer of a stream of this query in us-east-1"),
        ({"streamName": "clicks", "consumerARN": CONSUMER}, "not a consumer of a stream of this query in us-east-1"),
        ({"streamName": "clicks,s", "region": "eu-west-1", "consumerARN": CONSUMER}, "names no consumer of s"),
        ({"streamName": "", "streamARN": ARN, "consumerARN": CONSUMER.replace("9012:", "9013:")}, "not a consumer of"),
        ({"streamName": "", "streamARN": ARN, "consumerARN": f"{CONSUMER},{CONSUMER}"}, "the second of one"),
        ({"tasks": "2", "shardsPerTask": "2"}, "contradict each other"),
    ],
)
def test_what_is_wrong_is_named(wrong: dict[str, str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        parse({**REQUIRED, **wrong})


def test_a_time_without_a_zone_is_utc() -> None:
    given = {**REQUIRED, "startingPosition": "AT_TIMESTAMP"}
    naive = parse({**given, "startingTimestamp": "2026-01-01T00:00:00.5"})
    aware = parse({**given, "startingTimestamp": "2026-01-01T01:00:00.5+01:00"})
    assert naive.starting_position == aware.starting_position == "@1767225600.500"


def test_positions_per_shard_override_trim_horizon() -> None:
    options = parse({**REQUIRED, "startingPosition": '{"shardId-000000000001": "42"}'})
    assert options.named == {"s/shardId-000000000001": "42"}
    assert options.starting_position == "TRIM_HORIZON"


def test_a_consumer_is_named_for_all_streams_or_given_for_each() -> None:
    assert not parse(REQUIRED).fan_out
    named = parse({**REQUIRED, "consumerName": "c"})
    assert (named.fan_out, named.consumer_name, named.consumer_arns) == (True, "c", {})
    views = CONSUMER.replace("clicks", "views")
    given = {"streamName": "clicks,views", "region": "eu-west-1", "ledgerLocation": "/l"}
    assert parse({**given, "consumerARN": f"{views}, {CONSUMER}"}).consumer_arns == {"clicks": CONSUMER, "views": views}
    assert parse({"streamARN": ARN, "ledgerLocation": "/l", "consumerARN": CONSUMER}).fan_out


@pytest.mark.parametrize("name", ["consumerName", "consumerARN"])
def test_a_batch_read_takes_no_consumer(name: str) -> None:
    with pytest.raises(OptionError, match=f"{name}: for readStream"):
        parse_batch({"streamName": "s", name: "c"})
