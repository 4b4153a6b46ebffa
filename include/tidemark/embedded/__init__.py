"""The embedded platform: PostgreSQL, Airflow, the Kinesis emulator and the streams, on one machine, no Docker."""
