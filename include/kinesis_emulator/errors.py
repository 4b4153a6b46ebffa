"""Errors as the Kinesis API names them (AWS API reference, common and per-operation errors)."""


class KinesisError(Exception):
    """An error answer: ``code`` is the ``__type`` that SDKs turn into an exception class."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


def not_found(what: str) -> KinesisError:
    """The stream, shard or consumer does not exist."""
    return KinesisError("ResourceNotFoundException", f"{what} not found")


def invalid(message: str) -> KinesisError:
    """An argument has a value that makes no sense."""
    return KinesisError("InvalidArgumentException", message)


def throttled(shard_id: str) -> KinesisError:
    """A shard's limit is exceeded."""
    return KinesisError("ProvisionedThroughputExceededException", f"Rate exceeded for shard {shard_id}")
