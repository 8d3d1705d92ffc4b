"""The order of training rows, as a function of (seed, stage, epoch): of one feed, and of several in one stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

# Rows are sorted by length inside windows of this many batches, so batches are even and their order stays random.
WINDOW = 50
# Keeps the draws of feeds apart from the order of an epoch.
_STREAM = 0x66656564


def epoch_order(lengths: np.ndarray, batch_size: int, *, seed: int, stage: int, epoch: int) -> list[np.ndarray]:
    """Row indices of every batch of an epoch. Each row appears once; only the last window may end in a short batch."""
    rng = np.random.default_rng([seed, stage, epoch])
    order = rng.permutation(len(lengths))
    batches: list[np.ndarray] = []
    window = batch_size * WINDOW
    for start in range(0, len(order), window):
        rows = order[start : start + window]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        batches += [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


@dataclass(frozen=True)
class Mix:
    """How several feeds share the updates of a stage.

    An epoch has as many updates as one over all rows. Every feed is a stream of its own, all its rows in random order
    again and again, so no row of it comes twice before each came once; an epoch takes from it what its share says.

    Attributes:
        kind: `shuffled`: any update may hold rows of any feed. `in_turn`: an update holds rows of one feed, and the
            feeds take turns, evenly spread. `together`: every update holds the same number of rows of each feed.
        feed: `(N,)` int64, the feed of each row.
        shares: of the rows, one a feed; None: as many as there are.
    """

    kind: Literal["shuffled", "in_turn", "together"]
    feed: np.ndarray
    shares: tuple[float, ...] | None = None

    def order(self, lengths: np.ndarray, batch_size: int, *, seed: int, stage: int, epoch: int) -> list[np.ndarray]:
        """Row indices of every batch of an epoch; see `epoch_order`."""
        if self.kind == "shuffled" and self.shares is None:
            return epoch_order(lengths, batch_size, seed=seed, stage=stage, epoch=epoch)
        sizes = np.bincount(self.feed)
        shares = np.array(self.shares or sizes, dtype=np.float64)
        updates = -(-len(lengths) // batch_size)
        if self.kind == "shuffled":
            counts = parts(len(lengths), shares)
            each = [batch_size] * len(sizes)
        elif self.kind == "in_turn":
            turns = parts(updates, shares)
            counts, each = turns * batch_size, [batch_size] * len(sizes)
        else:
            each = [int(count) for count in parts(batch_size, shares, least=1)]
            counts = np.array(each) * updates
        chosen = [
            np.flatnonzero(self.feed == number)[_stream(int(size), int(count), epoch, (seed, stage, number))]
            for number, (size, count) in enumerate(zip(sizes, counts, strict=True))
        ]
        if self.kind == "shuffled":
            rows = np.concatenate(chosen)
            return [
                rows[batch] for batch in epoch_order(lengths[rows], batch_size, seed=seed, stage=stage, epoch=epoch)
            ]
        batches = [
            [rows[batch] for batch in epoch_order(lengths[rows], size, seed=seed, stage=stage, epoch=epoch)]
            for rows, size in zip(chosen, each, strict=True)
        ]
        if self.kind == "together":
            return [np.concatenate(update) for update in zip(*batches, strict=True)]
        return [batches[number].pop(0) for number in _turns(turns)]


def parts(whole: int, shares: Sequence[float] | np.ndarray, *, least: int = 0) -> np.ndarray:
    """`whole` as a sum of integers in proportion to `shares`, by largest remainders; each is `least` or more.

    Raises:
        ValueError: `whole` is too small for that.
    """
    weights = np.asarray(shares, dtype=np.float64)
    spare = whole - least * len(weights)
    if spare < 0:
        raise ValueError(f"{whole} cannot be shared among {len(weights)}")
    exact = weights / weights.sum() * whole
    counts = np.maximum(np.floor(exact + 1e-9).astype(np.int64), least)
    while counts.sum() > whole:  # some got more than their share
        counts[np.argmax(np.where(counts > least, counts - exact, -np.inf))] -= 1
    while counts.sum() < whole:
        counts[np.argmax(exact - counts)] += 1
    return counts


def _stream(size: int, count: int, epoch: int, key: tuple[int, ...]) -> np.ndarray:
    """`count` row numbers below `size`: the piece of an endless stream of permutations that belongs to `epoch`."""
    pieces, start = [], epoch * count
    while count:
        cycle, offset = divmod(start, size)
        piece = np.random.default_rng([_STREAM, *key, cycle]).permutation(size)[offset : offset + count]
        pieces.append(piece)
        start, count = start + len(piece), count - len(piece)
    return np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.int64)


def _turns(counts: np.ndarray) -> list[int]:
    """Each number `counts[number]` times, as evenly spread as can be."""
    places = [((turn + 0.5) / count, number) for number, count in enumerate(counts) for turn in range(count)]
    return [number for _, number in sorted(places)]
