"""A Kinesis Data Streams emulator: one process, exact lineage and iterators, records stored as they are sent.

``running_emulator()`` starts one in a process of its own, for tests and for the embedded default.
"""

from kinesis_emulator.runner import running_emulator, start_emulator

__version__ = "0.1.0"
__all__ = ["running_emulator", "start_emulator"]
