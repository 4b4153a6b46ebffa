"""The error tree of Tidemark. Every message says what is wrong, where, and what to do about it."""

REFUSED = 65
"""Exit code of a job that was refused, and would be again while data, definition and input are as they are."""
TRY_AGAIN = 75
"""Exit code of a job that may succeed when it is run again as it is. Both codes are those of BSD's sysexits.h."""


class TidemarkError(Exception):
    """Base of everything that Tidemark raises on purpose; the CLI prints it without a traceback and exits with 1."""

    exit_code = REFUSED
    """Exit code of a Spark job that raises this error."""


class DefinitionError(TidemarkError):
    """A pipeline's definition contradicts itself; the message lists every problem found, not just the first."""

    def __init__(self, subject: str, problems: list[str]) -> None:
        self.subject = subject
        self.problems = tuple(problems)
        super().__init__(f"{subject}: " + "; ".join(problems))


class SettingsError(TidemarkError):
    """A setting is missing or malformed."""


class PreconditionError(TidemarkError):
    """Something that must be there before a command starts (a JDK, a free port, disk space, a stream) is not."""


class TableError(TidemarkError):
    """A table is missing, or is not what its contract says."""


class NoTableError(TableError):
    """A table does not exist yet."""


class CoverageError(TidemarkError):
    """A reprocess cannot cover what was asked for: refine has not passed the segment within the time limit."""

    exit_code = TRY_AGAIN


class DefinitionChangedError(TableError):
    """The streams began another definition while a run worked by the one before: nothing more of it is published."""


class BusyError(TidemarkError):
    """Another process does the same work at this moment; the message names it."""

    exit_code = TRY_AGAIN


class JobError(TidemarkError):
    """A Spark job ended with an error; the message holds the last lines of its log."""

    exit_code = TRY_AGAIN


class UnavailableError(JobError):
    """A server does not answer at the moment, or with an error of its own; the same question may be repeated."""


class StalledError(JobError):
    """Something was waited for, and nothing has moved for a long time; the message says what, and how things stood."""


class ExpectationError(TidemarkError):
    """A suite cannot be read, or cannot be turned into row rules."""


class QualityGateError(TidemarkError):
    """A validation ran to its end and found data that breaks an expectation of severity critical."""


class DisagreementError(TidemarkError):
    """Two computations that must be equal are not: the proof of the demo, or a reconcile, failed."""
