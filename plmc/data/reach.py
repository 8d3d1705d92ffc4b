"""Does the Hugging Face Hub answer? One short question instead of a minute of retries."""

from __future__ import annotations

import os
import threading
import time

from plmc.errors import ConfigError

_TRUE = {"1", "ON", "YES", "TRUE"}
_OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")


def hub_endpoint() -> str:
    """The address asked: `HF_ENDPOINT`, or the public Hub."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"


LIMIT = "PLMC_HUB_TIMEOUT"
"""Environment variable: seconds to wait for a sign of the Hub's, 10 unless it is set."""
_known: dict[tuple[str, ...], str | None] = {}


def hub_reachable(timeout: float | None = None) -> str | None:
    """None if the Hub answers within `timeout` seconds, else the reason why not, as half a sentence.

    Without `timeout`: within `PLMC_HUB_TIMEOUT` seconds, asked once a process. A silent Hub is asked a second time, one
    that answers with 500 or more four times, as its own clients do. Obeys `HF_ENDPOINT`, `HF_HUB_OFFLINE`,
    `HF_DATASETS_OFFLINE`, `TRANSFORMERS_OFFLINE` and the usual proxy variables.
    """
    for variable in _OFFLINE:
        if os.environ.get(variable, "").upper() in _TRUE:
            return f"{variable}={os.environ[variable]} forbids asking it"
    endpoint = hub_endpoint()
    if timeout is not None:
        return _within(endpoint, timeout)
    key = (endpoint, os.environ.get(LIMIT, ""))
    if key not in _known:
        _known[key] = _within(endpoint, _limit())
    return _known[key]


def stay_local(reason: str) -> None:
    """Keeps the clients of the Hub from asking it: their own retries take a minute. Says so once."""
    import datasets
    from huggingface_hub import constants

    from plmc.console import note

    if constants.HF_HUB_OFFLINE:
        return
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    if "forbids" not in reason:  # who forbids it knows
        note(f"the Hugging Face Hub does not answer ({reason}); models, rows and texts come from this machine alone.")


def _limit() -> float:
    given = os.environ.get(LIMIT, "10")
    try:
        limit = float(given)
    except ValueError:
        limit = -1.0
    if not 0 < limit < 3600:
        raise ConfigError(f"{LIMIT}={given} is no number of seconds. Write for example {LIMIT}=30")
    return limit


def _within(endpoint: str, limit: float) -> str | None:
    answer: list[str | None] = []
    # A name server that hangs ignores every socket timeout, so only a thread that is left behind bounds the wait.
    thread = threading.Thread(target=lambda: answer.append(_patient(endpoint, limit)), daemon=True)
    thread.start()
    thread.join(limit)
    return answer[0] if answer else f"{endpoint} did not answer within {limit:g} s"


def _patient(endpoint: str, limit: float) -> str | None:
    end = time.monotonic() + limit
    reason: str | None = ""
    for number in range(4):
        # The first try is short: a busy machine may lose one packet, and the second has the rest of the time.
        left = end - time.monotonic()
        reason, tries = _ask(endpoint, left / 3 if number == 0 else left)
        if reason is None or number + 1 >= tries:
            break
        pause = 0.5 * 2**number if tries > 2 else 0.2
        if time.monotonic() + pause >= end:
            break
        time.sleep(pause)
    return (
        reason if reason is None or "did not answer" not in reason else f"{endpoint} did not answer within {limit:g} s"
    )


def _ask(endpoint: str, timeout: float) -> tuple[str | None, int]:
    """The reason why not, and how often to ask where this is the answer."""
    import requests

    try:
        response = requests.head(endpoint, timeout=timeout, allow_redirects=False)
    except requests.Timeout:
        return f"{endpoint} did not answer", 2
    except requests.RequestException as error:
        return f"{endpoint} could not be reached ({_root(error)})", 2
    # Any answer below 500 comes from a server that is up; proxies report an unreachable one with 502 to 504.
    return (None, 1) if response.status_code < 500 else (f"{endpoint} answers with status {response.status_code}", 4)


def _root(error: BaseException) -> str:
    """The first cause in the chain: `Name or service not known` instead of three wrapped exceptions."""
    while error.__context__ is not None:
        error = error.__context__
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
