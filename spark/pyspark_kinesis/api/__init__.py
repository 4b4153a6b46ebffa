"""Calls of the Kinesis Data Streams API, and what comes back: signing, retries, rates, decoding."""
