"""Packages of other people that bring configs, and classes that these name, along.

A package says so in its pyproject.toml:

    [project.entry-points."plmc.conf"]
    my_package = "my_package:conf"

The folder `conf` in the package then holds options as ours does: `conf/method/mine.yaml`, `conf/task/mine.yaml`.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

GROUP = "plmc.conf"


@cache
def config_folders() -> dict[str, Path]:
    """The config folder of each such package that is installed, by the package's name; imports none of them."""
    found = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.value):
        package = entry.module.partition(".")[0]
        spec = find_spec(package)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            folder = Path(place, *entry.module.split(".")[1:], entry.attr)
            if folder.is_dir():
                found[package] = folder
    return found
