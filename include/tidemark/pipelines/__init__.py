"""The pipelines: one file each, holding a ``Pipeline``. To add one, add a file here and a suite in expectations/."""
