"""The ``tidemark`` command."""

from tidemark.cli.app import app, main

__all__ = ["app", "main"]
