"""A bounded part of the fault schedules; ``make faults`` runs many."""

from pathlib import Path

from kinesis_schedules import AT_ONCE, run_schedules


def test_each_record_once_under_seeded_faults(tmp_path: Path) -> None:
    for schedule in list(run_schedules(list(range(AT_ONCE)), tmp_path)):
        assert schedule.failure is None, f"seed {schedule.seed}: {schedule.failure}; {schedule.log}"
