"""The speed layer: from Kinesis to bronze, and from bronze to silver and the speed tables."""
