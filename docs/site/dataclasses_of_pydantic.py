"""Shows pydantic's dataclasses as dataclasses: with the parameters of the ``__init__`` that they get."""

from typing import Any

import griffe

_PYDANTIC = "pydantic.dataclasses.dataclass"


class DataclassesOfPydantic(griffe.Extension):
    """Names the decorator as the standard library's, which griffe knows; the fields of both are written alike."""

    def on_module_members(self, *, mod: griffe.Module, **_: Any) -> None:
        """Runs for each module once its imports are known."""
        for member in mod.members.values():
            if member.is_alias and member.target_path == _PYDANTIC:
                member.target_path = "dataclasses.dataclass"
                mod.imports[member.name] = member.target_path
