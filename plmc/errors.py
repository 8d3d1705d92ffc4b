"""The errors a user can cause. The command line prints their text and no traceback (unless `--debug`)."""


class PlmcError(Exception):
    """Something the user can mend. The text says what was wrong and what to type instead."""

    exit_code = 1


class ConfigError(PlmcError):
    """A wrong key, value or combination in the configuration; found before any download or training."""

    exit_code = 2


class DataError(PlmcError):
    """Data that is missing, malformed or does not fit the task; names file and line where there is one."""

    exit_code = 3


class DamagedFile(DataError):
    """A file that plmc wrote and that is no longer what it wrote."""


class HubUnreachable(PlmcError):
    """The Hugging Face Hub does not answer and what is asked for is not in the local cache."""

    exit_code = 4


class ExportError(PlmcError):
    """An export that is not good enough: the task's metric falls by more than is allowed."""

    exit_code = 6


class TrainingError(PlmcError):
    """Training cannot go on: non-finite loss, full disk, damaged checkpoint."""

    exit_code = 5


class DamagedCheckpoint(TrainingError):
    """A checkpoint whose bytes are not those that were written."""


def short_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, says that memory, address space or threads ran out."""
    while error is not None:
        text = str(error).lower()
        if isinstance(error, MemoryError) or any(sign in text for sign in _SHORT):
            return True
        error = error.__cause__ or error.__context__
    return False


# torch, oneDNN, the loader of shared libraries, the kernel, CUDA, threads.
_SHORT = (
    "can't allocate memory",
    "cannot allocate memory",
    "failed to map segment",
    "out of memory",
    "not enough memory",
    "can't start new thread",
    "std::bad_alloc",
    "could not create a primitive",
    "could not create a memory",
)
