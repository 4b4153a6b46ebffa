"""How pipelines do: the health of their streams, what the tables hold, what was checked, quarantined, estimated."""
