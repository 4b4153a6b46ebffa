"""How much a micro-batch may read."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from pyspark_kinesis.options.stream import Options


@dataclass(frozen=True)
class Limits:
    """Limits of one micro-batch, in Kinesis records and in bytes of their data; None: as much as there is.

    They travel in offsets, so that a replay plans the batch as it was planned first.
    """

    records: int | None = None
    records_per_shard: int | None = None
    bytes: int | None = None
    bytes_per_shard: int | None = None

    @classmethod
    def of(cls, options: Options) -> "Limits":
        """The limits that the options set."""
        return cls(options.max_records, options.max_records_per_shard, options.max_bytes, options.max_bytes_per_shard)

    @classmethod
    def read_from(cls, offset: Mapping[str, Any], options: Options) -> "Limits":
        """Those of an offset, or those of the options where it states none."""
        return cls(**offset["limits"]) if "limits" in offset else cls.of(options)

    def within(self, *, records: int | None = None, size: int | None = None) -> "Limits":
        """These limits, lowered to what else is asked for."""
        return replace(self, records=_least(self.records, records), bytes=_least(self.bytes, size))

    @property
    def everything(self) -> bool:
        """Whether nothing is limited."""
        return self == Limits()

    def of_each(self, shards: int) -> tuple[int | None, int | None]:
        """Records and bytes for each shard of a batch that reads so many; at least one of each."""
        return (
            _least(_share(self.records, shards), self.records_per_shard),
            _least(_share(self.bytes, shards), self.bytes_per_shard),
        )

    def to_json(self) -> dict[str, int]:
        """What an offset holds."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def _least(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _share(limit: int | None, shards: int) -> int | None:
    return None if limit is None else max(1, limit // shards)
