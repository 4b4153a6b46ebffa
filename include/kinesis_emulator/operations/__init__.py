"""The operations of the Kinesis API by subject; each takes a request that was checked, and gives the answer."""
