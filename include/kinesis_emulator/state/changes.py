"""The changes that the journal keeps: each checked when it is made, and again when it is read back."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, TypeAdapter

Mode = Literal["PROVISIONED", "ON_DEMAND"]
Strategy = Literal["AUTO", "USER_PARTITION_KEY"]


def _from_text(value: object) -> object:
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


# Text in the journal: JSON's numbers end at 64 bits.
_Big = Annotated[int, BeforeValidator(_from_text), PlainSerializer(str), Field(ge=0)]
_Count = Annotated[int, Field(ge=1)]
_Kibibytes = Annotated[int, Field(ge=1024, le=10240)]
_Natural = Annotated[int, Field(ge=0)]


class Change(BaseModel):
    """A change. Times are in milliseconds since the epoch."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    def entry(self) -> dict[str, Any]:
        """As the journal keeps it."""
        return self.model_dump(mode="json")


class StreamChange(Change):
    """A change to one stream."""

    stream: str


class Created(StreamChange):
    """A stream was made. ``creation`` (milliseconds) marks its sequence numbers; older versions wrote none."""

    op: Literal["create"] = "create"
    shards: _Count
    mode: Mode = "PROVISIONED"
    ms: float
    creation: _Natural = 0
    tags: dict[str, str] = Field(default_factory=dict)
    max_record_kib: _Kibibytes | None = None
    strategy: Strategy = "USER_PARTITION_KEY"
    warm_mibps: _Natural | None = None


class Deleted(StreamChange):
    """A stream was deleted, with its consumers."""

    op: Literal["delete"] = "delete"


class Put(StreamChange):
    """A record was put: ``data`` in base64, ``seq`` its sequence number."""

    op: Literal["put"] = "put"
    shard: str
    seq: _Big
    ms: float
    data: str
    key: str | None


class Split(StreamChange):
    """A shard was split at the hash key ``start``."""

    op: Literal["split"] = "split"
    shard: str
    start: _Big
    ms: float


class Merged(StreamChange):
    """Two shards were merged."""

    op: Literal["merge"] = "merge"
    shards: Annotated[list[str], Field(min_length=2, max_length=2)]
    ms: float


class Resized(StreamChange):
    """The number of open shards was set."""

    op: Literal["resize"] = "resize"
    target: _Count
    ms: float


class Setting(StreamChange):
    """A setting of a stream was set: its one field bears the name of the attribute of ``Stream``."""

    def setting(self) -> tuple[str, object]:
        """The attribute, and its value."""
        [name] = set(type(self).model_fields) - {"op", "stream"}
        return name, getattr(self, name)


class RetentionSet(Setting):
    """The retention period was set."""

    op: Literal["retention"] = "retention"
    hours: Annotated[int, Field(ge=24, le=8760)]

    def setting(self) -> tuple[str, object]:
        """The attribute, which had another name in the first journals."""
        return "retention_hours", self.hours


class ModeSet(Setting):
    """The capacity mode was set."""

    op: Literal["mode"] = "mode"
    mode: Mode


class RecordSizeSet(Setting):
    """The size of the largest record was set."""

    op: Literal["record_size"] = "record_size"
    max_record_kib: _Kibibytes


class MetricsSet(Setting):
    """The shard-level metrics were set."""

    op: Literal["metrics"] = "metrics"
    metrics: list[str]


class EncryptionSet(Setting):
    """The key of the encryption was set; None: there is none."""

    op: Literal["encryption"] = "encryption"
    key_id: str | None


class StrategySet(Setting):
    """The strategy by which records are distributed over the shards was set."""

    op: Literal["strategy"] = "strategy"
    strategy: Strategy


class WarmThroughputSet(Setting):
    """The warm throughput was set."""

    op: Literal["warm_throughput"] = "warm_throughput"
    warm_mibps: _Natural


class ResourceChange(StreamChange):
    """A change to a stream, or to one of its consumers."""

    consumer: str | None = None


class TagsAdded(ResourceChange):
    """Tags were added or overwritten."""

    op: Literal["tags"] = "tags"
    tags: dict[str, str]


class TagsRemoved(ResourceChange):
    """Tags were removed; those that are not there do not matter."""

    op: Literal["untag"] = "untag"
    keys: list[str]


class PolicySet(ResourceChange):
    """The policy was set; None: it was deleted."""

    op: Literal["policy"] = "policy"
    policy: str | None


class ConsumerRegistered(StreamChange):
    """A consumer was registered."""

    op: Literal["register"] = "register"
    consumer: str
    ms: float
    tags: dict[str, str] = Field(default_factory=dict)


class ConsumerDeregistered(StreamChange):
    """A consumer was deregistered."""

    op: Literal["deregister"] = "deregister"
    consumer: str


class CommitmentSet(Change):
    """The account's minimum throughput billing commitment was begun or ended."""

    op: Literal["commitment"] = "commitment"
    enabled: bool
    ms: float


AnySetting = RetentionSet | ModeSet | RecordSizeSet | MetricsSet | EncryptionSet | StrategySet | WarmThroughputSet
AnyStreamChange = (
    Created | Deleted | Put | Split | Merged | Resized | AnySetting | TagsAdded | TagsRemoved | PolicySet
    | ConsumerRegistered | ConsumerDeregistered
)  # fmt: skip
AnyChange = AnyStreamChange | CommitmentSet
_ANY: TypeAdapter[AnyChange] = TypeAdapter(Annotated[AnyChange, Field(discriminator="op")])


def change_of(entry: object) -> AnyChange:
    """The change that an entry of the journal tells of.

    Raises:
        ValueError: it tells of none; pydantic's ValidationError is one.
    """
    return _ANY.validate_python(entry)
