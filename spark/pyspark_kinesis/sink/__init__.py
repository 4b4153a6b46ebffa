"""Writing to a stream."""
