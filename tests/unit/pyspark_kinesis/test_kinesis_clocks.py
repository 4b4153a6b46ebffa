"""The service's clock and this machine's: up to five minutes apart, in either direction."""

import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import http_calls
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kinesis_engine import Stream, assert_each_once_in_order, drain, engine

from kinesis_emulator import running_emulator
from pyspark_kinesis.api.client import KinesisClient, shared_client
from pyspark_kinesis.api.positions import at_time
from pyspark_kinesis.api.service_clock import ServiceClock
from pyspark_kinesis.errors import OptionError
from pyspark_kinesis.options.batch import parse_batch
from pyspark_kinesis.reading.batch import KinesisBatchReader

AHEAD = [-300.0, -60.0, -2.0, -0.7, 0.0, 0.7, 2.0, 60.0, 300.0]


MILLISECONDS = st.integers(0, 5_000)


@given(
    st.integers(-300_000, 300_000), st.lists(st.tuples(st.integers(0, 10**6), MILLISECONDS, MILLISECONDS), min_size=1)
)
def test_answers_never_put_the_service_s_clock_out_of_the_bounds(
    ahead: int, answers: list[tuple[int, int, int]]
) -> None:
    now = 2_000_000_000.0
    clock = ServiceClock(lambda: now)
    for start, there, back in sorted(answers):
        sent = 1_700_000_000_000 + start
        told = formatdate((sent + there + ahead) / 1000, usegmt=True)
        clock.learn(told, sent / 1000, (sent + there + back) / 1000)
    service = now + ahead / 1000
    assert clock.seconds_until(service) >= 0
    assert clock.seconds_until(service) <= 11.001, "no more than a second, and the way there and back"
    assert clock.seconds_until(service - 11.001) == 0
    if clock.now() != now:
        assert clock.now() <= service + 1e-6
        assert clock.now_at_most() >= service - 1e-6
    else:
        assert abs(ahead) <= 11_000, "the two were not told apart"


def test_a_date_that_a_busy_server_renews_late_does_not_set_the_end_of_a_query_back() -> None:
    clock = ServiceClock(lambda: 1_700_000_000.4)
    clock.learn(formatdate(1_699_999_999, usegmt=True), 1_700_000_000.3, 1_700_000_000.4)
    assert clock.now_at_most() == 1_700_000_000.4
    assert clock.now() < 1_700_000_000.4


@pytest.mark.parametrize("date", [None, "", "yesterday"])
def test_without_a_date_the_clocks_are_the_same(date: str | None) -> None:
    clock = ServiceClock()
    clock.learn(date, 0.0, 0.0)
    assert clock.now() == pytest.approx(time.time(), abs=60)
    assert clock.seconds_until(time.time() - 1) == 0


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_emulator(arguments=("--create-milliseconds", "0")) as url:
        yield url


def set_clock(url: str, ahead: float) -> None:
    http_calls.post(f"{url}/_control/clock", json={"offset_seconds": ahead}).raise_for_status()


def service_time(url: str, ahead: float) -> float:
    """Sets the clock to what it is anyway, as the answer tells the time."""
    answer = http_calls.post(f"{url}/_control/clock", json={"offset_seconds": ahead})
    return float(answer.json()["now"])


@pytest.mark.parametrize("ahead", AHEAD)
def test_latest_is_a_time_that_the_service_has_reached_and_what_is_put_later_is_read(
    url: str, tmp_path: Path, ahead: float
) -> None:
    set_clock(url, ahead)
    client = KinesisClient("us-east-1", url)
    stream = Stream(client, shards=1)
    query = engine(client, stream, tmp_path, starting_position="LATEST")
    pinned = query.ledger.pinned_start()
    assert pinned is not None
    assert pinned <= service_time(url, ahead)
    assert pinned >= service_time(url, ahead) - 60
    stream.put(10)
    drain(query, stream)
    assert_each_once_in_order(query, stream)


@pytest.mark.parametrize("ahead", [at for at in AHEAD if abs(at) > 2])
def test_available_now_reads_what_was_there_by_the_service_s_clock(url: str, tmp_path: Path, ahead: float) -> None:
    set_clock(url, ahead)
    client = KinesisClient("us-east-1", url)
    stream = Stream(client, shards=2)
    stream.put(30)
    query = engine(KinesisClient("us-east-1", url), stream, tmp_path, max_records=8)
    query.planner.freeze()
    while query.trigger("none"):
        pass
    assert_each_once_in_order(query, stream)


@pytest.mark.parametrize("fail_on_data_loss", [True, False])
@pytest.mark.parametrize("ahead", [-300.0, 0.0, 300.0])
def test_a_start_in_the_future_is_said_and_nothing_is_read(
    url: str, tmp_path: Path, ahead: float, fail_on_data_loss: bool
) -> None:
    set_clock(url, ahead)
    client = KinesisClient("us-east-1", url)
    stream = Stream(client, shards=1)
    stream.put(10)
    since = at_time(time.time() + ahead + 120)
    query = engine(client, stream, tmp_path, starting_position=since, fail_on_data_loss=fail_on_data_loss)
    with pytest.raises(OptionError, match=r"startingTimestamp is 1\d\d s in the future .*choose a time"):
        query.trigger("none")
    assert not query.sink


@pytest.mark.parametrize("ahead", [-30.0, 30.0])
def test_a_batch_read_ends_no_sooner_than_the_service_s_clock_passes_the_end_that_was_planned(
    url: str, ahead: float
) -> None:
    """Else a second attempt has rows that the first had not: a stage that Spark repeats in part mixes the two."""
    # The Date of an answer has whole seconds: early in one, the planner takes the service to be nearly a second ahead.
    set_clock(url, ahead + 0.1 - (time.time() + ahead) % 1)
    client = KinesisClient("us-east-1", url)
    stream = Stream(client, shards=1)
    stream.put(1)
    reader = KinesisBatchReader(parse_batch({"streamName": stream.name, "endpointUrl": url}))
    shared_client.cache_clear()
    [partition] = reader.partitions()
    first = reader.read(partition)
    rows = next(first).num_rows
    stream.put(1)
    there = client.records(client.iterator({"StreamName": stream.name}, "shardId-000000000000", "TRIM_HORIZON"), 10)
    assert there.records.arrivals_ms[1] / 1000 <= partition.until, "it arrived by the end that was planned"
    rows += sum(batch.num_rows for batch in first)
    assert rows == sum(batch.num_rows for batch in reader.read(partition)) == 2
