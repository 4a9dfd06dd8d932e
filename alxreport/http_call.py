"""What every endpoint does alike: who calls, where the work runs, how a refusal is told."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import sys
import time
import traceback
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from difflib import get_close_matches
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from alxreport.admission import Caller
from alxreport.cache import Memory
from alxreport.errors import (
    AlxError,
    BusyError,
    ConfigError,
    DatabaseError,
    NotAuthorisedError,
    NotFoundError,
    RateLimitError,
    ResyncError,
    StoreError,
    UnsupportedError,
    UsageError,
)
from alxreport.group_commit import GroupStore
from alxreport.http_brakes import Brakes
from alxreport.sessions import ready
from alxreport.settings import Settings

# Answering from a file is work for the processor, on which more threads only wait for each other;
# a server's answers are waited for.
FILE_THREADS, SERVER_THREADS, LONG_THREADS = 2, 10, 2
# More than these wait for a thread: who comes next is told to come back.
MOST_WAITING = 200
MOST_PARAMETERS = 50
FORWARDED = ("x-forwarded-for", "forwarded", "x-real-ip")
PACKED_FROM = 1_000  # bytes; shorter answers gain nothing
PACK_LEVEL = 4
# The credential itself is at fault, so another one may do; elsewhere it is not allowed.
CREDENTIAL_REASONS = frozenset({"missing", "malformed", "unknown", "expired", "revoked"})
# Who guesses tokens is refused for one of these.
GUESSES = CREDENTIAL_REASONS - {"missing"}
_FLAG = re.compile(r"(?<!alxreport )--(?=[a-z])")
Result = TypeVar("Result")
Answer = Callable[[Request], Awaitable[Response]]
Refuse = Callable[[Request, AlxError], Response]


class Office:
    """What all requests of a process share."""

    def __init__(self, settings: Settings, *, debug: bool = False) -> None:
        self.settings, self.debug = settings, debug
        self.store: GroupStore = ready(GroupStore(settings.store))
        self.memory = Memory()
        self.brakes = Brakes()
        many = FILE_THREADS if self.store.is_file else SERVER_THREADS
        self._threads = ThreadPoolExecutor(many, "request")
        self._long = ThreadPoolExecutor(LONG_THREADS, "export")
        self._waiting = 0
        self._warned = False

    async def run(self, work: Callable[[], Result], *, long: bool = False) -> Result:
        """Return what ``work`` returns, done in a thread; ``long`` work holds up no other.

        Raises what ``work`` raises, and BusyError.
        """
        if self._waiting >= MOST_WAITING:
            raise BusyError("Too many requests are waiting.", "Try again in a moment.")
        self._waiting += 1
        try:
            threads = self._long if long else self._threads
            return await asyncio.get_running_loop().run_in_executor(threads, work)
        finally:
            self._waiting -= 1

    def now(self) -> int:
        """Return the time in unix seconds."""
        return int(time.time())

    def warn_of_proxy(self, request: Request) -> None:
        """Tell once on stderr that a proxy on this machine is not believed."""
        if self._warned or self.settings.serve.trusted_proxies:
            return
        if is_forwarded(request) and address(request) in {"127.0.0.1", "::1"}:
            self._warned = True
            sys.stderr.write(
                "alxreport: warning: a proxy on this machine passes requests on, and is not"
                " believed who asks: everybody is 127.0.0.1 in the log."
                ' Set serve.trusted_proxies = ["127.0.0.1"]\n'
            )

    def report(self, request: Request, error: BaseException) -> None:
        """Tell on stderr of a fault that is not the caller's."""
        told = f"{type(error).__name__}: {error}" if self.debug else type(error).__name__
        sys.stderr.write(f"alxreport: {request.method} {request.url.path}: failed, {told}\n")
        if self.debug:
            traceback.print_exception(error, file=sys.stderr)

    def close(self) -> None:
        """Let what is begun end, write the log, and close the store."""
        for threads in (self._threads, self._long):
            threads.shutdown()
        self.store.close()


def office(request: Request) -> Office:
    """Return what all requests of this process share."""
    found: Office = request.app.state.office
    return found


def endpoint(answer: Answer, refuse: Refuse) -> Answer:
    """Return an endpoint that tells its errors by ``refuse``, and slows down who guesses."""

    async def guarded(request: Request) -> Response:
        try:
            return await answer(request)
        except ClientDisconnect:
            return Response(status_code=400)
        except NotAuthorisedError as error:
            if error.reason in GUESSES:
                await office(request).brakes.hold(address(request))
            return refuse(request, error)
        except (StoreError, ConfigError) as error:
            # What it says is for who runs the server: it may name a host or a file.
            sys.stderr.write(f"alxreport: {request.url.path}: {error.message}\n")
            return refuse(request, StoreError("The data cannot be read now.", "Try again later."))
        except AlxError as error:
            return refuse(request, error)
        except Exception as error:
            office(request).report(request, error)
            return refuse(
                request, AlxError("The server failed at this request.", "Tell who runs it.")
            )

    return guarded


def is_forwarded(request: Request) -> bool:
    """Tell whether a proxy says that it passes on what another one asks."""
    return any(name in request.headers for name in FORWARDED)


def address(request: Request) -> str:
    """Return the caller's address: the socket's, or what a trusted proxy says."""
    return request.client.host if request.client else ""


def caller(request: Request, name: str, token: str, company: str | None = None) -> Caller:
    """Return who asks; over HTTP nobody is the local operator.

    The company that the address names has to be the token's, and one that a parameter names.
    """
    placed = request.path_params.get("company")
    if placed is not None and company not in {None, placed}:
        company = f"{placed}, {company}"  # both cannot be meant, and no company is called so
    elif placed is not None:
        company = placed
    office(request).warn_of_proxy(request)
    agent = request.headers.get("user-agent", "")
    return Caller(name, address(request), agent, token, company)


def token_of(request: Request) -> str:
    """Return the token in the Authorization header, "" for none.

    It is a Bearer token, or the password of Basic, whatever the user name.
    """
    scheme, _blank, value = request.headers.get("authorization", "").partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        return value
    if scheme.lower() != "basic":
        return ""
    try:
        pair = base64.b64decode(value, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return "\0"  # no token, and not none either
    return pair.partition(":")[2]


def parameters(request: Request, known: tuple[str, ...]) -> dict[str, str]:
    """Return the query string's parameters, each once.

    Raises UsageError for unknown and repeated ones: what was misspelt must not be ignored.
    """
    found: dict[str, str] = {}
    for name, value in query_items(request):
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"Did you mean {close[0]}?" if close else f"Known here: {', '.join(known)}."
            raise UsageError(f"There is no parameter {name[:50]!r}.", hint)
        if name in found:
            raise UsageError(f"The parameter {name} is given twice.", "Leave one out.")
        found[name] = value
    return found


def query_items(request: Request) -> list[tuple[str, str]]:
    """Return names and values of the query string; UsageError for what is no text."""
    try:
        return parse_qsl(
            request.scope["query_string"].decode("ascii"), keep_blank_values=True,
            errors="strict", max_num_fields=MOST_PARAMETERS,
        )  # fmt: skip
    except ValueError as error:
        raise UsageError(
            "The query string cannot be read: it is not UTF-8, or has too many parameters.",
            "Percent-encode the values as UTF-8.",
        ) from error


def whole_number(found: Mapping[str, str], name: str) -> int | None:
    """Return a parameter as a number, None where it is not given; UsageError for another text."""
    text = found.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"-?[0-9]{1,25}", text):
        raise UsageError(f"{name} must be a whole number, not {text[:50]!r}.", f"Write {name}=100")
    return int(text)


def status_of(error: AlxError) -> int:
    """Return the HTTP status of an error."""
    if isinstance(error, NotAuthorisedError):
        return 401 if error.reason in CREDENTIAL_REASONS else 403
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return status
    return 500


_STATUS: tuple[tuple[type[AlxError], int], ...] = (
    (ResyncError, 410),
    (UnsupportedError, 501),
    (UsageError, 400),
    (RateLimitError, 429),
    (NotFoundError, 404),
    (DatabaseError, 503),
    (BusyError, 503),
)


def in_words_of_http(error: AlxError) -> tuple[str, str]:
    """Return message and hint without the dashes of the command line's options."""
    if isinstance(error, ResyncError):
        return error.message, error.hint  # the contract's words
    hint = error.hint if "alxreport " in error.hint else _FLAG.sub("", error.hint)
    return _FLAG.sub("", error.message), hint


def refusal_headers(response: Response, error: AlxError, now: int) -> Response:
    """Add what a client needs to do better: a challenge, or when to come back."""
    headers = response.headers
    headers["Cache-Control"] = "no-store"
    headers["X-Content-Type-Options"] = "nosniff"
    if status_of(error) == 401:
        headers.append("WWW-Authenticate", 'Basic realm="alxreport", charset="UTF-8"')
        headers.append("WWW-Authenticate", 'Bearer realm="alxreport"')
    elif isinstance(error, RateLimitError):
        wait = max(1, error.resets_at - now)
        headers["Retry-After"] = str(wait)
        headers.update(limit_headers(error.limit, 0, wait))
    elif isinstance(error, BusyError):
        headers["Retry-After"] = "1"
    elif isinstance(error, DatabaseError):
        headers["Retry-After"] = "60"
    return response


def budget_headers(budget: Any, now: int) -> dict[str, str]:
    """Return what is told of a budget (``rate_limit.Budget``, or None) with each answer."""
    if budget is None or budget.left is None:
        return {}
    return limit_headers(budget.limit, budget.left, max(1, budget.resets_at - now))


def limit_headers(limit: int, left: int, seconds: int) -> dict[str, str]:
    """Return the fields of draft-ietf-httpapi-ratelimit-headers-10, and those of its version 3."""
    return {
        "RateLimit-Policy": f'"day";q={limit};w=86400',
        "RateLimit": f'"day";r={left};t={seconds}',
        "RateLimit-Limit": str(limit),
        "RateLimit-Remaining": str(left),
        "RateLimit-Reset": str(seconds),
    }


def takes_gzip(request: Request) -> bool:
    """Tell whether the client reads gzip."""
    for part in request.headers.get("accept-encoding", "").lower().split(","):
        name, _mark, weight = part.partition(";")
        if name.strip() in {"gzip", "*"}:
            return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


class Parts(Response):
    """A body in parts that are sent as they are: joining a page would copy it once more."""

    def __init__(
        self, parts: Sequence[bytes], status: int, headers: Mapping[str, str], kind: str
    ) -> None:
        super().__init__(b"", status, headers, kind)
        self._parts = parts
        self.headers["Content-Length"] = str(sum(map(len, parts)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send head and parts."""
        del receive
        await send({
            "type": "http.response.start", "status": self.status_code, "headers": self.raw_headers,
        })  # fmt: skip
        for part in () if scope["method"] == "HEAD" else self._parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def reply(
    request: Request, body: bytes | Sequence[bytes], media_type: str,
    headers: Mapping[str, str] = {},
    status: int = 200,
) -> Response:  # fmt: skip
    """Return a body as an answer, packed where the client reads that."""
    more = {"Vary": "Accept-Encoding", "X-Content-Type-Options": "nosniff", **headers}
    parts = [body] if isinstance(body, bytes) else body
    if sum(map(len, parts)) >= PACKED_FROM and takes_gzip(request):
        parts = [await office(request).run(lambda: packed(b"".join(parts)))]
        more["Content-Encoding"] = "gzip"
    return Parts(parts, status, more, media_type)


def packed(body: bytes) -> bytes:
    """Return bytes as gzip."""
    return zlib.compress(body, PACK_LEVEL, wbits=31)


def packing() -> Any:
    """Return what packs a stream as gzip."""
    return zlib.compressobj(PACK_LEVEL, wbits=31)
