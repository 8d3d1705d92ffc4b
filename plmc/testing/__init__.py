"""Tests that every method and every head must pass, for packages of your own; needs pytest (`pip install pytest`)."""

import pytest

# Failures show both sides of a comparison, as those of one's own tests do.
pytest.register_assert_rewrite("plmc.testing.methods", "plmc.testing.heads")

from plmc.testing.heads import HeadRow as HeadRow  # noqa: E402
from plmc.testing.heads import HeadSuite as HeadSuite  # noqa: E402
from plmc.testing.methods import MethodSuite as MethodSuite  # noqa: E402
from plmc.testing.methods import Row as Row  # noqa: E402
