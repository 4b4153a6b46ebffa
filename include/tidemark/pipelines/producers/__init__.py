"""Sources of sample events, and the producer that puts events into a stream."""
