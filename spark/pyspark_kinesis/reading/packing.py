"""Which shards share a task: a task costs more than a small read."""

import math
from collections.abc import Container

from pyspark_kinesis.options.stream import Options
from pyspark_kinesis.reading.task import ShardRead

_MAX_TASKS = 32
_SHARDS_A_TASK = 16


def packed(reads: list[ShardRead], behind: Container[str], options: Options) -> list[list[ShardRead]]:
    """As the options say; without them, shards near the tip share tasks, and those ``behind`` get their own."""
    if options.tasks is not None:
        return [group for n in range(options.tasks) if (group := reads[n :: options.tasks])]
    if options.shards_per_task is not None:
        return _chunks(reads, options.shards_per_task)
    far = [read for read in reads if read.shard_id in behind]
    near = [read for read in reads if read.shard_id not in behind]
    return _chunks(far, math.ceil(len(far) / _MAX_TASKS)) + _chunks(near, _SHARDS_A_TASK)


def _chunks(reads: list[ShardRead], size: int) -> list[list[ShardRead]]:
    return [reads[n : n + size] for n in range(0, len(reads), max(1, size))]
