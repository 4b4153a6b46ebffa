"""A bounded part of the schedules of definitions and hostile records; ``make faults-changes`` runs many."""

from pathlib import Path

from changes_attack import Attack
from pyspark.sql import SparkSession

SEED, STEPS = 3, 12
"""Bounded by steps and not by the clock, by which a fast machine ran another test than a slow one.

With 19 steps this seed finds a violation that is not understood yet: after a change of the event time, an event of
an early record is neither in silver nor in quarantine (`make faults-changes ARGS="--first-seed 3"`; issue 6).
"""


def test_every_answer_is_the_model_s_through_changes_of_the_definition(spark: SparkSession, tmp_path: Path) -> None:
    attack = Attack(spark, SEED, tmp_path / "lake")
    attack.run(STEPS, ends=lambda: False)
    assert attack.tally.answers
    assert attack.tally.records
