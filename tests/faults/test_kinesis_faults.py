"""A bounded part of the fault schedules; ``make faults`` runs many."""

from pathlib import Path

from kinesis_schedules import AT_ONCE, run_group


def test_each_record_once_under_seeded_faults(tmp_path: Path) -> None:
    for schedule in run_group(list(range(AT_ONCE)), tmp_path / "group"):
        assert schedule.failure is None, f"seed {schedule.seed}: {schedule.failure}; {schedule.log}"
