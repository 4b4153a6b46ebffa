"""Where a ledger can be: a file system, S3 or HDFS."""
