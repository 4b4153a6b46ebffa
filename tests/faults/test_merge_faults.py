"""A bounded part of the schedules that attack the merge; ``make faults-merge`` runs many."""

from pathlib import Path

from merge_attack import Schedule
from merge_steps import draw

SEED = 110
STEPS = 8
"""They hold one of everything: kills at seams, a lost checkpoint, reprocess, compaction, folding. They are counted, not
timed: on a busy machine none began within the time that a quiet one needs for all."""


def test_every_answer_is_that_of_a_prefix_under_a_seeded_attack(tmp_path: Path) -> None:
    schedule = Schedule(SEED, tmp_path / "schedule", reconciles=False)
    violation = schedule.run(draw(SEED, STEPS))
    assert violation is None, f"{violation}; {schedule.tally}"
    tally = schedule.tally
    assert tally.kills, f"nothing was killed: {tally}"
    assert tally.operations.get("reprocess"), f"no reprocess was done: {tally}"
    assert tally.by_reader.keys() >= {"quick", "slow", "silver", "spark"}
