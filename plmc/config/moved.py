"""Where the classes are that configs of earlier versions name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MOVED = {
    "plmc.config.TeacherSpec": "plmc.teachers.spec.TeacherSpec",
    "plmc.models.ModelSpec": "plmc.models.spec.ModelSpec",
    "plmc.models.Shape": "plmc.models.spec.Shape",
}


def current(node: Any) -> Any:
    """A config with today's path in each `_target_`: a run made before a class moved is still read."""
    if isinstance(node, Mapping):
        return {
            key: _MOVED.get(value, value) if key == "_target_" and isinstance(value, str) else current(value)
            for key, value in node.items()
        }
    return [current(each) for each in node] if isinstance(node, list) else node
