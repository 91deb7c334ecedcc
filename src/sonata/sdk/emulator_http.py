"""Asking the emulator's own API: requests, streams, and its refusals as the exceptions that they were."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import httpx

from sonata import errors

_TIMEOUT = httpx.Timeout(30.0, read=None)  # a command may run for as long as it likes


class EmulatorHttp:
    """One running emulation over HTTP. Raises the same errors as the emulation itself."""

    def __init__(self, url: str, token: str) -> None:
        self._http = httpx.Client(
            base_url=f"{url}/emulator/v1",
            headers={"Authorization": f"Bearer {token}"},
            timeout=_TIMEOUT,
            trust_env=False,
            verify=url.startswith("https:"),  # certificates take long to read, and are for TLS alone
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    @contextmanager
    def _stream(self, method: str, path: str, **options: Any) -> Iterator[httpx.Response]:
        with _reached(method, path), self._http.stream(method, path, **options) as response:
            if response.is_error:
                response.read()
                raise as_error(response)
            yield response

    def _json(self, method: str, path: str, **options: Any) -> Any:
        return self._call(method, path, **options).json()

    def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        with _reached(method, path):
            response = self._http.request(method, path, **options)
        if response.is_error:
            raise as_error(response)
        return response


@contextmanager
def _reached(method: str, path: str) -> Iterator[None]:
    try:
        yield
    except httpx.TransportError as error:
        raise errors.TransientError(
            f"the emulator does not answer: {error}", call=f"{method} {path}", hint="see `sonata emu ls`"
        ) from error


def as_error(response: httpx.Response) -> errors.SonataError:
    """The problem document of an answer, as an exception of the class that the emulator raised."""
    try:
        return error_of(response.json())
    except (ValueError, KeyError):
        call = f"{response.request.method} {response.request.url.path}"
        return errors.PermanentError(f"the emulator answered {response.status_code}", call=call, answer=response.text)


def error_of(problem: Mapping[str, Any]) -> errors.SonataError:
    """A problem document as an exception of the class that the emulator raised."""
    return errors.error_class(problem["code"])(problem["detail"], hint=problem["hint"])
