"""What every method of the table in `method_rows.py` must do, whatever it is."""

from method_rows import ROWS

from plmc.testing import MethodSuite


class TestMethods(MethodSuite):
    rows = ROWS
    # The second does already what the first would, or leaves it nothing: dropout is off, the encoder is frozen, an
    # average that begins after the last mask has one set of weights in so few updates.
    nothing_to_do = frozenset(
        {
            ("hype_control", "hype"),
            *(
                (lock, few)
                for lock in ("lock", "lock_pooler")
                for few in ("head_only", "bitfit", "bitfit_few", "adapter", "adapter_feed_forward", "prefix")
            ),
            ("bitfit_few", "bitfit"),
            ("swa", "gmp_cycle"),
            ("swa", "gmp_lrr"),
        }
    )
