"""Does the Hugging Face Hub answer? One short question instead of a minute of retries."""

from __future__ import annotations

import os
import threading

_TRUE = {"1", "ON", "YES", "TRUE"}
_OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")


def hub_endpoint() -> str:
    """The address asked: `HF_ENDPOINT`, or the public Hub."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"


def hub_reachable(timeout: float = 2.0) -> str | None:
    """None if the Hub answers within `timeout` seconds, else the reason why not, as half a sentence.

    Obeys `HF_ENDPOINT`, `HF_HUB_OFFLINE`, `HF_DATASETS_OFFLINE`, `TRANSFORMERS_OFFLINE` and the usual proxy variables.
    """
    for variable in _OFFLINE:
        if os.environ.get(variable, "").upper() in _TRUE:
            return f"{variable}={os.environ[variable]} forbids asking it"
    endpoint, answer = hub_endpoint(), []
    # A name server that hangs ignores every socket timeout, so only a thread that is left behind bounds the wait.
    thread = threading.Thread(target=lambda: answer.append(_ask(endpoint, timeout)), daemon=True)
    thread.start()
    thread.join(timeout)
    return answer[0] if answer else f"{endpoint} did not answer within {timeout:g} s"


def _ask(endpoint: str, timeout: float) -> str | None:
    import requests

    try:
        response = requests.head(endpoint, timeout=timeout, allow_redirects=False)
    except requests.Timeout:
        return f"{endpoint} did not answer within {timeout:g} s"
    except requests.RequestException as error:
        return f"{endpoint} could not be reached ({_root(error)})"
    # Any answer below 500 comes from a server that is up; proxies report an unreachable one with 502 to 504.
    return None if response.status_code < 500 else f"{endpoint} answers with status {response.status_code}"


def _root(error: BaseException) -> str:
    """The first cause in the chain: `Name or service not known` instead of three wrapped exceptions."""
    while error.__context__ is not None:
        error = error.__context__
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
