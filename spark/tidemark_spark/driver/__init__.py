"""The process of a job: how it starts, is watched, restarted and ended, and why it failed."""
