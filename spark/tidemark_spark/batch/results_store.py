"""Great Expectations' store of results: for verdicts of NumPy's type too, which its own cannot write, and short."""

from typing import Any

from great_expectations.data_context.store.validation_results_store import ValidationResultsStore

from tidemark.monitoring.check_results import shortened


class PlainResultsStore(ValidationResultsStore):
    """Writes verdicts as Python's booleans, whatever the comparison gave that they come from.

    Of the texts that rows hold it writes the beginning only: the pages are made of what it writes.
    """

    def serialize(self, value: Any) -> Any:
        """The JSON of a run's results."""
        value.success = bool(value.success)
        for result in value.results:
            result.success = bool(result.success)
            result.result = shortened(result.result)
        return super().serialize(value)  # type: ignore[no-untyped-call]  # Great Expectations has no types here
