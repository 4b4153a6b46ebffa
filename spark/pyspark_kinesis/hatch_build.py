"""How the sdist is built: it holds the licence itself, where the repository has a link to its own one."""

import os
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Licence(BuildHookInterface[BuilderConfig]):
    """Takes what links lead to; nobody unpacks a tar with one that leads out of it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before the files are taken."""
        named = build_data["force_include"]
        build_data["force_include"] = {os.path.realpath(source): place for source, place in named.items()}
