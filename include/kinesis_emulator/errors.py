"""Errors as the Kinesis API names them (AWS API reference, common and per-operation errors)."""

from collections.abc import Sequence

_MOST_TOLD = 10


class KinesisError(Exception):
    """An error answer: ``code`` is the ``__type`` that SDKs turn into an exception class."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


def not_found(what: str) -> KinesisError:
    """The stream, shard or consumer does not exist."""
    return KinesisError("ResourceNotFoundException", f"{what} not found.")


def in_use(message: str) -> KinesisError:
    """The resource is there already, or is not in a state in which it can be changed."""
    return KinesisError("ResourceInUseException", message)


def over_limit(message: str) -> KinesisError:
    """A quota of the account is exceeded."""
    return KinesisError("LimitExceededException", message)


def dry_run() -> KinesisError:
    """The request would have succeeded, had it not been a trial."""
    return KinesisError("DryRunOperationException", "The request would have succeeded, but DryRun is set.")


def invalid(message: str) -> KinesisError:
    """An argument has a value that makes no sense."""
    return KinesisError("InvalidArgumentException", message)


def violated(violations: Sequence[tuple[str, str, str]]) -> KinesisError:
    """ValidationException in the service's wording: where, the value as it is shown (or nothing), and the constraint.

    The service tells at most ten.
    """
    told = violations[:_MOST_TOLD]
    texts = [f"Value {shown + ' ' if shown else ''}at '{at}' failed to satisfy constraint: {what}"
             for at, shown, what in told]  # fmt: skip
    detected = f"{len(told)} validation error{'s' if len(told) > 1 else ''} detected"
    return KinesisError("ValidationException", f"{detected}: {'; '.join(texts)}")


def missing(member: str) -> KinesisError:
    """A member that this request needs is not there, though the model of the service lets it be absent."""
    return violated([(member, "null", "Member must not be null")])


def own_fault(code: str, error: Exception) -> KinesisError:
    """The emulator failed, where the service would say that it does not know why; the log has the trace."""
    return KinesisError(code, f"the emulator failed ({error!r}), and its log has the trace: please report it", 500)


def throttled(shard_id: str) -> KinesisError:
    """A shard's limit is exceeded."""
    return KinesisError("ProvisionedThroughputExceededException", f"Rate exceeded for shard {shard_id}")
