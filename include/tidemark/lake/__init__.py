"""The Delta tables, and the protocol that keeps them exact: the log, transactions, publishing. No Spark."""
