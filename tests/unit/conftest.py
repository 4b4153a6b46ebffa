"""What ends with the run."""

import gc


def pytest_unconfigure() -> None:
    # Hypothesis leaves a callback with the garbage collector, which keeps modules alive past the end of Python; DuckDB
    # then complains of leaks below pytest's summary, which is to be the last thing said.
    gc.callbacks[:] = [callback for callback in gc.callbacks if not callback.__module__.startswith("hypothesis")]
