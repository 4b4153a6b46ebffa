"""Options are parsed once; what is wrong with them is said in words that help."""

import pytest

from pyspark_kinesis.errors import OptionError
from pyspark_kinesis.options import KNOWN, parse

REQUIRED = {"streamName": "s", "ledgerLocation": "/l"}
ARN = "arn:aws:kinesis:eu-west-1:123456789012:stream/clicks"


def test_names_are_case_insensitive_and_defaults_hold() -> None:
    options = parse({"STREAMNAME": "s", "ledgerlocation": "/l", "maxrecordspertrigger": "7"})
    assert (options.stream, options.region, options.starting_position) == ("s", "us-east-1", "TRIM_HORIZON")
    assert options.fail_on_data_loss
    assert options.max_records == 7
    assert options.stream_arguments == {"StreamName": "s"}


def test_an_arn_says_region_and_name() -> None:
    options = parse({"streamARN": ARN, "ledgerLocation": "/l"})
    assert (options.stream, options.region) == ("clicks", "eu-west-1")
    assert options.stream_arguments == {"StreamARN": ARN}


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
    assert options.named == {"shardId-000000000001": "42"}
    assert options.starting_position == "TRIM_HORIZON"
