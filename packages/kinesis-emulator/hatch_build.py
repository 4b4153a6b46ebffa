"""What the sdist and the wheel hold: the package, wherever it is, and the licence itself."""

import os
from pathlib import Path
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Package(BuildHookInterface[BuilderConfig]):
    """Takes the package from the repository, or, in an unpacked sdist, from beside this file."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before the files are taken."""
        name = self.metadata.core.name.replace("-", "_")
        here = Path(self.root, name)
        [package] = [here] if here.is_dir() else Path(self.root).parents[1].glob(f"*/{name}")
        if version != "editable":
            for path in sorted(package.rglob("*")):
                if path.is_file() and path.suffix != ".pyc":
                    build_data["force_include"][str(path)] = f"{name}/{path.relative_to(package).as_posix()}"
        # The licence is a link to the repository's, and nobody unpacks a tar with a link that leads out of it.
        licence = Path(self.root, "LICENSE")
        if self.target_name == "sdist" and licence.is_symlink():
            build_data["force_include"][os.path.realpath(licence)] = licence.name
