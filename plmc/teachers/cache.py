"""Teacher outputs on disk: computed once for all rows, memory-mapped, shared by all jobs that need the same."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from numpy.lib.format import open_memmap
from torch import nn

from plmc import digests
from plmc.console import note
from plmc.core.batch import Batch
from plmc.core.rows import Split
from plmc.core.view import Outputs
from plmc.files import replacing
from plmc.heads.base import Head
from plmc.training.batches import evaluation_batches
from plmc.world import here

DTYPES = {"fp32": np.float32, "fp16": np.float16}


@dataclass(frozen=True)
class Wanted:
    """What is stored of a teacher: its logits, and the hidden states of `layers` (0 is the embedding output).

    Attributes:
        dtype: `fp32`, or `fp16`: half the size, and values rounded to 11 bits.
        autocast: precision of the teacher's forward.
    """

    head: Head
    layers: tuple[int, ...] = ()
    dtype: str = "fp32"
    autocast: torch.dtype | None = None

    @property
    def what(self) -> str:
        """In words."""
        return "hidden states and logits" if self.layers else "logits"

    def columns(self, *, outputs: int, width: int, split: Split) -> dict[str, tuple[int, ...]]:
        """Shapes by file name. Hidden states and the logits of spans have a row a token, other logits a row a row."""
        tokens, sequences = int(split.columns["input_ids"].lengths.sum()), len(split.columns["input_ids"])
        shape = (tokens,) if self.head.per_token else (sequences, outputs)
        heads: dict[str, tuple[int, ...]] = {f"head{part}": shape for part in range(self.head.parts)}
        return heads | {f"hidden{layer}": (tokens, width) for layer in self.layers}

    def size(self, *, outputs: int, width: int, split: Split) -> int:
        """Bytes of it on disk."""
        shapes = self.columns(outputs=outputs, width=width, split=split).values()
        return sum(int(np.prod(shape)) for shape in shapes) * np.dtype(DTYPES[self.dtype]).itemsize


def stored(
    model: nn.Module,
    split: Split,
    wanted: Wanted,
    *,
    identity: str,
    pad_id: int,
    cache: Path,
    progress=None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, np.ndarray]:
    """The columns of `Wanted.columns` for all rows of `split`, read-only and memory-mapped, computed unless they are
    there.

    Keyed by teacher (`identity`), rows (`split.fingerprint`) and `wanted`, so every job with the same three shares one
    folder; a lock lets two jobs that need it at once compute it once, and nobody sees half of one. `say` hears of work
    that takes a while. Files are checked against their digests each time, since a run reads every row of them anyway;
    damaged ones are computed again.
    """
    words = [identity, split.fingerprint, wanted.head.kind, str(wanted.autocast), wanted.dtype, *wanted.layers]
    folder = cache / "teacher" / hashlib.sha256(json.dumps(words).encode()).hexdigest()[:24]
    folder.parent.mkdir(parents=True, exist_ok=True)
    world = here()
    with FileLock(folder.with_suffix(".lock")) if world.first else nullcontext():
        if world.once(lambda: _missing(folder)):
            say(f"computing the teacher's {wanted.what} of {len(split):,} rows, once for all runs that need them")
            with replacing(folder) if world.first else nullcontext(folder) as own:
                # All processes write into the first one's draft, which takes the folder's place once it is whole.
                draft = world.tell(own)
                if world.first:
                    draft.mkdir()
                _compute(model, split, wanted, pad_id, draft, progress)
                if world.first:
                    digests.seal(draft)
    world.wait()
    return {path.stem: np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))}


def _missing(folder: Path) -> bool:
    """Whether outputs are to be computed; removes damaged ones."""
    if folder.is_dir() and (wrong := digests.fault(folder) or _unreadable(folder)):
        note(f"{wrong} The teacher's outputs are computed again.")
        shutil.rmtree(folder)
    return not folder.is_dir()


def _unreadable(folder: Path) -> str | None:
    """What is wrong with a folder of an older version, which has no digests, as far as its headers show it."""
    try:
        for path in folder.glob("*.npy"):
            np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        return f"{folder} is damaged ({str(error).splitlines()[0]})."
    return None


def _compute(model: nn.Module, split: Split, wanted: Wanted, pad_id: int, folder: Path, progress) -> None:
    """Fills the files in `folder`. The processes of the first machine take turns at the batches and write disjoint
    rows; those of other ones, whose writes into a page of a file would not meet, wait."""
    device, training, world = next(model.parameters()).device, model.training, here()
    model.eval()
    batches = evaluation_batches(split, pad_id=pad_id, turns=world.neighbours, turn=world.rank)
    if world.rank >= world.neighbours:
        batches = iter(())
    if progress:
        count = len(split) // world.neighbours
        batches = progress(batches, "teacher's outputs, rows", count, size=lambda batch: len(batch.rows))
    precision = torch.autocast(device.type, wanted.autocast) if wanted.autocast else nullcontext()
    options = {"output_hidden_states": True} if wanted.layers else {}
    per_token = wanted.head.per_token
    files: dict[str, np.memmap] = {}

    def write(batch: Batch, said: Outputs) -> None:
        real = batch.inputs["attention_mask"].cpu().numpy().astype(bool)
        sequences, tokens = split.sequences(batch.rows), _tokens(split, batch.rows)
        for number, head in enumerate(said.logits):
            values = head.cpu().numpy()
            files[f"head{number}"][tokens if per_token else sequences] = values[real] if per_token else values
        for layer in wanted.layers:
            files[f"hidden{layer}"][tokens] = said.states[layer].float().cpu().numpy()[real]

    try:
        with torch.inference_mode(), precision:
            first = next(batches, None)
            said = None if first is None else wanted.head.ask(model, first.to(device), **options)
            if world.first:
                _make_files(folder, split, wanted, said)
            world.wait()
            files = {path.stem: np.load(path, mmap_mode="r+") for path in folder.glob("*.npy")}
            if first is not None:
                write(first, said)
            for batch in batches:
                write(batch, wanted.head.ask(model, batch.to(device), **options))
    finally:
        model.train(training)
    for file in files.values():
        file.flush()
    world.wait()


def _make_files(folder: Path, split: Split, wanted: Wanted, said: Outputs) -> None:
    """Empty files for the outputs of all rows, of the widths that `said` has. Raises OSError if there is no room."""
    shape = {
        "outputs": said.logits[0].shape[1],
        "width": said.states[0].shape[2] if wanted.layers else 0,
    }
    if (size := wanted.size(split=split, **shape)) > shutil.disk_usage(folder).free:
        # Writing through a memory map to a full disk would kill the process without a word.
        raise OSError(errno.ENOSPC, f"the teacher's outputs take {size / 1e6:,.0f} MB (or teacher.cache=null)")
    for name, dims in wanted.columns(split=split, **shape).items():
        open_memmap(folder / f"{name}.npy", "w+", DTYPES[wanted.dtype], dims).flush()


def _tokens(split: Split, rows: np.ndarray) -> np.ndarray:
    """Where the tokens of `rows` are in an array over all tokens of the split."""
    offsets = split.columns["input_ids"].offsets
    return np.concatenate([np.arange(offsets[each], offsets[each + 1]) for each in split.sequences(rows)])


def look_up(columns: dict[str, np.ndarray], split: Split, wanted: Wanted, *, layers: int):
    """A teacher (see `plmc.teachers.live`) that finds what it says by row, in float32.

    `hidden_states` has `layers` + 1 entries, None where a layer is not stored. On padding, hidden states are 0 and the
    logits of spans -inf.
    """
    heads: Sequence[np.ndarray] = [columns[name] for name in sorted(columns) if name.startswith("head")]

    def outputs(batch: Batch) -> Outputs:
        mask = batch.inputs["attention_mask"]
        real, tokens = mask.cpu().numpy().astype(bool), None
        if wanted.layers or wanted.head.per_token:
            tokens = _tokens(split, batch.rows)

        def spread(values: np.ndarray, empty: float) -> torch.Tensor:
            padded = np.full(real.shape + values.shape[1:], empty, dtype=np.float32)
            padded[real] = values[tokens]
            return torch.from_numpy(padded).to(mask.device)

        if wanted.head.per_token:
            logits = tuple(spread(head, -np.inf) for head in heads)
        else:
            own = split.sequences(batch.rows)
            logits = tuple(torch.from_numpy(head[own].astype(np.float32)).to(mask.device) for head in heads)
        states = None
        if wanted.layers:
            states = tuple(
                spread(columns[f"hidden{layer}"], 0.0) if layer in wanted.layers else None
                for layer in range(layers + 1)
            )
        return Outputs(logits=logits, hidden_states=states)

    return outputs
