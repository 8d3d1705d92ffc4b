"""A made-up world that generates rows for every built-in task, offline (see docs/embedded-world.md)."""

from plmc.data.embedded.source import Embedded

__all__ = ["Embedded"]
