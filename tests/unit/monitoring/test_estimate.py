"""What is expected of a run, from what earlier ones took."""

from tidemark.monitoring.estimate import Timed, expected_seconds, timed


def test_nothing_is_expected_without_earlier_runs() -> None:
    assert expected_seconds(1_000, []) is None


def test_the_run_nearest_in_size_counts_and_more_rows_take_more_in_proportion() -> None:
    earlier = [Timed(1_000, 20.0), Timed(1_000_000, 60.0)]
    assert expected_seconds(2_000, earlier) == 40.0
    assert expected_seconds(2_000_000, earlier) == 120.0


def test_no_run_is_expected_to_take_less_than_the_start_of_spark() -> None:
    assert expected_seconds(10, [Timed(1_000, 20.0)]) == 20.0
    assert expected_seconds(10, [Timed(0, 20.0)]) == 200.0


def test_events_without_figures_are_passed_over() -> None:
    assert timed([{}, {"bronze_rows": 7}, {"bronze_rows": 7, "seconds": 2.5}]) == [Timed(7, 2.5)]
