"""Names, texts and digests as MLflow takes them."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plmc.names import dotted

MAX_PARAM, MAX_TAG, MAX_DIGEST = 6000, 8000, 36
"""Characters of a param, a tag and a dataset digest."""


def flatten(params: Mapping[str, Any]) -> dict[str, str]:
    """Nested mappings as `outer.inner` names, values as text no longer than MLflow takes."""
    return {metric_name(name): _text(value) for name, value in dotted(params).items()}


def _text(value: Any) -> str:
    listed = isinstance(value, Sequence) and not isinstance(value, str)
    text = ", ".join(map(str, value)) if listed else str(value)
    return text if len(text) <= MAX_PARAM else text[: MAX_PARAM - 1] + "…"


def metric_name(name: str) -> str:
    """`name` with what MLflow forbids in names replaced by `_`."""
    return re.sub(r"[^\w./ :-]", "_", name)


def content_digest(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents in a folder."""
    total = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        total.update(str(file.relative_to(path.parent)).encode() + b"\0")
        with file.open("rb") as content:
            while block := content.read(1 << 20):
                total.update(block)
    return total.hexdigest()


def now() -> int:
    """Milliseconds since 1970, as MLflow counts."""
    return int(time.time() * 1000)
