"""What the emulator keeps: streams with their shards, records and consumers, and the journal of their changes."""

from kinesis_emulator.state.state import Options, Request, State

__all__ = ["Options", "Request", "State"]
