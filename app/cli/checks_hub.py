"""The check of the model hub: is it asked at all, and does it answer in a bounded time?"""

from __future__ import annotations

import threading
from collections.abc import Callable
from urllib.parse import urlsplit

from app.cli.finding import Finding

__all__ = ["begin_check_hub"]

_ANSWER_S = 3.0
_PROXY_AUTH = 407
_SERVER_ERROR = 500
_NOT_NEEDED = "Only downloads need it: what is on this machine works without."


def begin_check_hub() -> Callable[[], Finding]:
    """Begin to ask the hub; the returned function waits for its answer, three seconds at most."""
    from huggingface_hub import constants

    home = f"HF_HOME {constants.HF_HOME}"
    if constants.HF_HUB_OFFLINE:
        return lambda: Finding.ok("hub", f"offline mode (HF_HUB_OFFLINE): nothing is downloaded; {home}")
    answers: list[str | int] = []
    # A daemon thread, because looking up a name has no time limit of its own.
    asking = threading.Thread(target=_ask, args=(constants.ENDPOINT, answers), daemon=True)
    asking.start()

    def end() -> Finding:
        asking.join(_ANSWER_S)
        where = f"{urlsplit(constants.ENDPOINT).hostname} (HF_ENDPOINT)"
        answer = answers[0] if answers else f"no answer in {_ANSWER_S:.0f} s"
        if isinstance(answer, int) and answer < _SERVER_ERROR and answer != _PROXY_AUTH:
            return Finding.ok("hub", f"{where} answers; {home}")
        why = f"it answers {answer}" if isinstance(answer, int) else answer
        return Finding.warning("hub", f"{where} is not reachable: {why}; {home}", f"Look at network, proxy and HF_ENDPOINT. {_NOT_NEEDED}")

    return end


def _ask(endpoint: str, answers: list[str | int]) -> None:
    import httpx

    try:
        answers.append(httpx.head(endpoint, timeout=_ANSWER_S).status_code)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        answers.append(type(error).__name__)
