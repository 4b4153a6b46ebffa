"""Great Expectations' store of results, for verdicts of NumPy's type too, which its own cannot write."""

from typing import Any

from great_expectations.data_context.store.validation_results_store import ValidationResultsStore


class PlainResultsStore(ValidationResultsStore):
    """Writes verdicts as Python's booleans, whatever the comparison gave that they come from."""

    def serialize(self, value: Any) -> Any:
        """The JSON of a run's results."""
        value.success = bool(value.success)
        for result in value.results:
            result.success = bool(result.success)
        return super().serialize(value)  # type: ignore[no-untyped-call]  # Great Expectations has no types here
