"""Who sends and fetches bodies that travel apart from their call? The client's own connections, blocking or not."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx2

from glowplug.errors import CallError
from glowplug.offload import Progress, Reply, Step, absolute, upload
from glowplug.payloads import AwayAnswer, Checked
from glowplug.remote_errors import error_from_answer

TRANSFER_S = 60.0  # without a byte moving


class Detour:
    """The requests of `offload`, made. Errors of the connection in `upload` are left to who tries the call again."""

    def __init__(
        self,
        url: str,
        key: str,
        client: Callable[[], httpx2.Client],
        aclient: Callable[[], httpx2.AsyncClient],
        broken: Callable[[httpx2.HTTPError, str], CallError],
    ) -> None:
        self.progress: Progress | None = None  # told how much of a body was sent
        self._url = url
        self._key = key
        self._client = client
        self._aclient = aclient
        self._broken = broken

    def upload(self, body: bytes) -> str:
        """Bring a body to the router and return its reference, "" where that cannot be done."""
        steps = upload(self._url, self._key, body, self.progress)
        try:
            step = next(steps)
            while True:
                client = self._client()
                answer = client.send(_request(client, step, step.pieces()))
                step = steps.send(Reply(answer.status_code, _headers(answer), answer.content))
        except StopIteration as done:
            return str(done.value)

    async def aupload(self, body: bytes) -> str:
        """Like `upload`, without blocking."""
        from anyio import to_thread

        steps = upload(self._url, self._key, body, self.progress)
        try:
            step = await to_thread.run_sync(next, steps)  # it digests the body first
            while True:
                client = self._aclient()
                answer = await client.send(_request(client, step, _later(step.pieces())))
                step = steps.send(Reply(answer.status_code, _headers(answer), answer.content))
        except StopIteration as done:
            return str(done.value)

    def fetched(self, away: AwayAnswer) -> Iterator[bytes]:
        """Yield an answer's pieces; the last one is only followed by an end when they were the right ones."""
        checked = Checked(away.digest, away.size_bytes, "the answer", "yes")
        try:
            with self._client().stream("GET", absolute(self._url, away.url)) as answer:
                if answer.status_code >= 400:
                    raise error_from_answer(answer.status_code, _headers(answer), answer.read())
                for piece in answer.iter_raw():
                    checked.take(piece)
                    yield piece
        except (httpx2.HTTPError, CallError) as error:
            raise self._lost(error) from None
        checked.end()

    def _lost(self, error: httpx2.HTTPError | CallError) -> CallError:
        """Return why an answer cannot be had; the call itself has run, whatever became of its answer."""
        found = error if isinstance(error, CallError) else self._broken(error, self._url)
        found.executed = "yes"
        return found

    async def afetched(self, away: AwayAnswer) -> bytes:
        """Return an answer whole."""
        checked, pieces = Checked(away.digest, away.size_bytes, "the answer", "yes"), []
        try:
            async with self._aclient().stream("GET", absolute(self._url, away.url)) as answer:
                if answer.status_code >= 400:
                    body = await answer.aread()
                    raise error_from_answer(answer.status_code, _headers(answer), body)
                async for piece in answer.aiter_raw():
                    checked.take(piece)
                    pieces.append(piece)
        except (httpx2.HTTPError, CallError) as error:
            raise self._lost(error) from None
        checked.end()
        return b"".join(pieces)


def _request(client: httpx2.Client | httpx2.AsyncClient, step: Step, pieces: Any) -> httpx2.Request:
    """Return a step as a request; its size is known, so that it is not sent in chunks."""
    headers = step.headers | {"content-length": str(step.size_bytes)}
    return client.build_request(
        step.method, step.url, content=pieces, headers=headers, timeout=TRANSFER_S
    )


async def _later(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def _headers(answer: httpx2.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.headers.items()}
