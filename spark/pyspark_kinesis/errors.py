"""The one error tree of the source. Every message names the remedy."""


class KinesisSourceError(Exception):
    """Anything this source refuses or cannot do; the message says what to do about it."""


class OptionError(KinesisSourceError):
    """An option is unknown, missing, malformed or contradicts another one."""


class StreamNotFoundError(KinesisSourceError):
    """The stream does not exist in that account and region."""


class ShardGoneError(KinesisSourceError):
    """A shard is no longer in its stream, which exists: it was closed, and its records have aged out."""


class AccessError(KinesisSourceError):
    """Credentials are missing, wrong, expired, or lack a permission."""


class EndpointError(KinesisSourceError):
    """The endpoint did not answer, or kept failing for longer than the source's patience."""


class RequestRefusedError(KinesisSourceError):
    """The service refused a request for a reason that a repetition does not change."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        """The API's name of the error, such as ``InvalidArgumentException``."""

    @property
    def of_position(self) -> bool:
        """Whether it is a position that GetShardIterator refused, rather than the key or the right to read it."""
        return self.code == "InvalidArgumentException"

    def __reduce__(self) -> tuple[type["RequestRefusedError"], tuple[str, str]]:
        return type(self), (self.code, str(self))


class IteratorExpiredError(KinesisSourceError):
    """A shard iterator is older than five minutes; ask for a new one from the position it stood for."""


class ConsumerError(KinesisSourceError):
    """A consumer of enhanced fan-out cannot be registered, or is gone, or belongs to another stream."""


class SubscriptionError(KinesisSourceError):
    """A subscription is not available now, or broke: go on by GetRecords, or subscribe again a little later."""


class NotReadError(KinesisSourceError):
    """Micro-batch after micro-batch ends although nobody read its rows, so that the query would never end."""


class DataLossError(KinesisSourceError):
    """Records between a recorded position and now are gone, or differ from what was recorded."""


class LedgerError(KinesisSourceError):
    """The ledger cannot be read or written, or belongs to another history than the checkpoint."""
