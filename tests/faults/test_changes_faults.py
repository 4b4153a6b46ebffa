"""A bounded part of the schedules of definitions and hostile records; ``make faults-changes`` runs many."""

from pathlib import Path

from changes_attack import Attack
from pyspark.sql import SparkSession

SEED = 3
STEPS = 12
"""Counted, not timed: a busy machine does as much as a quiet one."""


def test_every_answer_is_the_model_s_through_changes_of_the_definition(spark: SparkSession, tmp_path: Path) -> None:
    attack = Attack(spark, SEED, tmp_path / "lake")
    attack.run(STEPS)
    assert attack.tally.answers
    assert attack.tally.records
