"""The HTTP interface of a served model, with its limits; the only import of starlette, and a late one."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from dlpipe.errors import DlpipeError, InputError, in_words
from dlpipe.json_text import to_json
from dlpipe.serving.batcher import Answer, Batcher, Item, QueueFull
from dlpipe.serving.model import ServedModel

PAGE = Path(__file__).with_name("page.html")
#: The page needs nothing but itself and this server.
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
#: Seconds after which a client whose items found the queue full may try again.
RETRY_AFTER_S = 1
#: Batches that wait, at most.
WAITING_BATCHES = 8
FORMS = {
    "text": '{"item": "…"} or {"items": ["…", …]}',
    "file": '{"item": {"name": "…", "content": "…"}} or {"items": […]} with the content in base64, or the file itself',
}
Log = Callable[[str], None]


class Refused(HTTPException):
    """A request that is answered with an error."""


class Service:
    """Handlers of the requests.

    Args:
        model: what is served.
        batcher: runs it.
        max_bytes: largest body.
        log: called with one line for each request.
    """

    def __init__(self, model: ServedModel, batcher: Batcher, *, max_bytes: int, log: Log) -> None:
        self._model, self._batcher, self._max_bytes, self._log = model, batcher, max_bytes, log

    async def page(self, request: Request) -> Response:
        """Return the page to try the model by hand."""
        return HTMLResponse(PAGE.read_text(encoding="utf-8"), headers=PAGE_HEADERS)

    async def health(self, request: Request) -> Response:
        """Return what is served."""
        return _json(self._model.about())

    async def predict(self, request: Request) -> Response:
        """Return the answer for an item, or the list of those for several."""
        items, several = self._items(request, await self._body(request))
        request.state.items = len(items)
        if len(items) > self._batcher.capacity:
            raise Refused(413, f"{len(items)} items; expected at most {self._batcher.capacity} in one request")
        try:
            waiting = self._batcher.submit(items)
        except QueueFull as error:
            raise Refused(503, str(error), {"Retry-After": str(RETRY_AFTER_S)}) from error
        found = await asyncio.gather(*map(asyncio.wrap_future, waiting), return_exceptions=True)
        answers = [self._checked(number, each) for number, each in enumerate(found, start=1)]
        return _json(answers if several else answers[0])

    def _checked(self, number: int, found: Answer | BaseException) -> Answer:
        """Return an answer; an error becomes that of the request."""
        if isinstance(found, InputError):
            raise Refused(422, f"item {number}: {found}") from found
        if isinstance(found, BaseException):
            self._log(str(found) if isinstance(found, DlpipeError) else in_words(found))
            raise Refused(500, f"item {number}: the model failed; the log of the server says why") from found
        return found

    async def _body(self, request: Request) -> bytes:
        """Read the body; stop as soon as it is too large."""
        too_large = Refused(413, f"the body has more than {self._max_bytes:,} bytes, the limit of this server")
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > self._max_bytes:
            raise too_large
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > self._max_bytes:
                raise too_large
        return bytes(body)

    def _items(self, request: Request, body: bytes) -> tuple[list[Item], bool]:
        """Return the items of a request, and whether there may be several."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            # A page of another site can send text without asking, but neither JSON nor these.
            if self._model.kind == "file" and kind.startswith(("image/", "audio/", "application/octet-stream")):
                return [Item("upload", body)], False
            raise Refused(415, f"Content-Type {kind or 'missing'}: expected application/json with {self._form}")
        try:
            content = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise Refused(400, f"the body is not JSON: {in_words(error)}; expected {self._form}") from error
        if not isinstance(content, dict) or set(content) not in ({"item"}, {"items"}):
            raise Refused(400, f"expected {self._form}")
        several = "items" in content
        given = content["items"] if several else [content["item"]]
        if not isinstance(given, list) or not given:
            raise Refused(400, f'"items" is not a list with at least one item; expected {self._form}')
        return [self._item(number, each) for number, each in enumerate(given, start=1)], several

    def _item(self, number: int, given: Any) -> Item:
        if self._model.kind == "text" and isinstance(given, str):
            return Item(given)
        if self._model.kind == "file" and isinstance(given, Mapping) and set(given) <= {"name", "content"}:
            name, content = given.get("name", "upload"), given.get("content")
            if isinstance(name, str) and isinstance(content, str):
                try:
                    return Item(name, base64.b64decode(content, validate=True))
                except ValueError as error:  # binascii.Error, and a plain one for what is not ASCII
                    raise Refused(400, f'item {number}: "content" is not base64: {error}') from error
        shown = "a text" if isinstance(given, str) else f"of type {type(given).__name__}"
        why = "; a server reads no files that a client names" if self._model.kind == "file" else ""
        raise Refused(400, f"item {number} is {shown}{why}; expected {self._form}")

    @property
    def _form(self) -> str:
        return FORMS[self._model.kind]


def application(
    model: ServedModel, *, batch_size: int, max_wait_ms: int, max_bytes: int, log: Log = lambda line: None
) -> Starlette:
    """Return the application; its thread begins and ends with it.

    Args:
        model: what is served.
        batch_size: most items that go through the model together.
        max_wait_ms: how long an item waits for others.
        max_bytes: largest body of a request.
        log: called with one line for each request.
    """
    batcher = Batcher(
        model.answers, batch_size=batch_size, max_wait_s=max_wait_ms / 1000, capacity=WAITING_BATCHES * batch_size
    )

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(batcher.close)

    service = Service(model, batcher, max_bytes=max_bytes, log=log)
    routes = [
        Route("/", _logged(service.page, log)),
        Route("/health", _logged(service.health, log)),
        Route("/predict", _logged(service.predict, log), methods=["POST"]),
    ]

    def refuse(request: Request, error: Exception) -> Response:
        """Answer what no route answers: an unknown path, another method."""
        assert isinstance(error, HTTPException)
        paths = "POST /predict, GET /health and GET /"
        log(f"{_client(request)} {request.method} {request.url.path} {error.status_code}")
        text = f"{request.method} {request.url.path}: expected {paths}"
        return _json({"error": text}, error.status_code, error.headers)

    served = Starlette(routes=routes, lifespan=lifespan, exception_handlers={404: refuse, 405: refuse})
    served.router.redirect_slashes = False  # a redirect would lead to whatever host the client names
    return served


def _logged(handle: Callable[[Request], Any], log: Log) -> Callable[[Request], Any]:
    """Return a handler that answers errors as JSON, and writes one line for each request."""

    async def handler(request: Request) -> Response:
        begun = time.perf_counter()
        try:
            response: Response = await handle(request)
        except Refused as error:
            response = _json({"error": error.detail}, error.status_code, error.headers)
        except ClientDisconnect:
            response = Response(status_code=499)  # as nginx writes it; nobody reads this
        number = getattr(request.state, "items", 0)
        items = f" {number} item{'s' * (number > 1)}" if number else ""
        milliseconds = 1000 * (time.perf_counter() - begun)
        log(
            f"{_client(request)} {request.method} {request.url.path} {response.status_code}{items} "
            f"{milliseconds:.1f} ms"
        )
        return response

    return handler


def _client(request: Request) -> str:
    return request.client.host if request.client else "-"


def _json(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response with what ``dlpipe predict --json`` prints; half of a surrogate pair becomes its escape."""
    body = to_json(content, ensure_ascii=False).encode("utf-8", "backslashreplace")
    return Response(body, status, headers, media_type="application/json")
