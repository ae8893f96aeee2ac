"""How does the router get away from the terminal that starts it, and how does that one learn how it went?"""

import json
import os
import select
import sys
from collections.abc import Callable

from glowplug.clock import MILLISECOND, SECOND, Clock, SystemClock
from glowplug.errors import ConfigError, GlowplugError
from glowplug_router.settings import UpSettings
from glowplug_router.supervisor.main import READY_MAX_NS, Say, run_up

NEWS_MAX_NS = READY_MAX_NS + 10 * SECOND
_NEWS_MAX_BYTES = 64 * 1024


def run_detached(settings: UpSettings, say: Say) -> str:
    """Start a router in a session of its own; return its URL once it answers.

    Raises:
        ConfigError: It did not come up, and why.
    """
    settings.home.router.mkdir(parents=True, exist_ok=True, mode=0o700)
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _leave(lambda: _supervise(settings, writing))
    os.close(writing)
    os.waitpid(pid, 0)
    try:
        news = _read(reading, SystemClock())
    finally:
        os.close(reading)
    if "url" not in news:
        raise ConfigError(
            news.get("message", "the router ended before it was ready"),
            code=news.get("code"),
            hint=news.get("hint", "`glowplug up` in the foreground shows why"),
        )
    say(news["said"])
    return news["url"]


def _leave(work: Callable[[], None]) -> None:
    """Fork once more in a new session, so that no terminal can ever become ours, and run `work` there."""
    os.setsid()
    if os.fork():
        os._exit(0)
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        work()
    finally:
        os._exit(0)


def _supervise(settings: UpSettings, writing: int) -> None:
    said: list[str] = []

    def ready(url: str) -> None:
        _write(writing, {"url": url, "said": "\n".join(said)})
        os.close(writing)

    try:
        run_up(settings, said.append, ready)
    except GlowplugError as error:
        _write(writing, {"message": error.message, "code": error.code, "hint": error.hint})


def _write(descriptor: int, news: dict[str, str]) -> None:
    try:
        os.write(descriptor, json.dumps(news).encode() + b"\n")
    except OSError:
        pass  # whoever waited has gone, or has been told


def _read(descriptor: int, clock: Clock) -> dict[str, str]:
    """Return what the router tells before it closes its end."""
    deadline_ns = clock.now_ns() + NEWS_MAX_NS
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    told = b""
    while poll.poll(max(0, deadline_ns - clock.now_ns()) // MILLISECOND):
        piece = os.read(descriptor, _NEWS_MAX_BYTES)
        if not piece:
            break
        told += piece
        if told.endswith(b"\n"):  # children hold the other end as well: it does not close
            break
    return {str(name): str(value) for name, value in json.loads(told or b"{}").items()}
