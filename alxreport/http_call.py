"""What every endpoint does alike: who calls, where the work runs, how a refusal is told."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from difflib import get_close_matches
from typing import TypeVar
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from alxreport.admission import Caller
from alxreport.cache import Memory
from alxreport.errors import (
    AlxError,
    BusyError,
    ConfigError,
    NotAuthorisedError,
    StoreError,
    UsageError,
)
from alxreport.group_commit import GroupStore
from alxreport.http_brakes import Brakes
from alxreport.http_log import say, tell
from alxreport.settings import Settings

# Threads for each kind of work, so that none holds up another: pages; exports; pages with a
# condition of the caller's own; and what is free and has to be told while the rest waits.
# Answering from a file is work for the processor, on which more threads only wait for each other;
# a server's answers are waited for.
FILE_THREADS = {"request": 2, "export": 2, "search": 2, "look": 2}
SERVER_THREADS = {"request": 10, "export": 2, "search": 4, "look": 2}
# More than these wait for a thread: who comes next is told to come back.
MOST_WAITING = 200
MOST_PARAMETERS = 50
FORWARDED = ("x-forwarded-for", "forwarded", "x-real-ip")
# The credential itself is at fault, so another one may do; elsewhere it is not allowed.
CREDENTIAL_REASONS = frozenset({"missing", "malformed", "unknown", "expired", "revoked"})
# Who guesses tokens is refused for one of these.
GUESSES = CREDENTIAL_REASONS - {"missing"}
Result = TypeVar("Result")
Answer = Callable[[Request], Awaitable[Response]]
Refuse = Callable[[Request, AlxError], Response]


class Office:
    """What all requests of a process share."""

    def __init__(self, settings: Settings, *, debug: bool = False) -> None:
        self.settings, self.debug = settings, debug
        self.store = GroupStore(settings.store)  # nothing is read before the first request
        self.memory = Memory()
        self.brakes = Brakes()
        many = FILE_THREADS if self.store.is_file else SERVER_THREADS
        self._threads = {kind: ThreadPoolExecutor(most, kind) for kind, most in many.items()}
        self._waiting = dict.fromkeys(many, 0)
        self._warned = False

    async def run(self, work: Callable[[], Result], kind: str = "request") -> Result:
        """Return what ``work`` returns, done in a thread for its kind.

        Raises what ``work`` raises, and BusyError.
        """
        if self._waiting[kind] >= MOST_WAITING:
            raise BusyError("Too many requests are waiting.", "Try again in a moment.")
        self._waiting[kind] += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads[kind], work)
        finally:
            self._waiting[kind] -= 1

    def now(self) -> int:
        """Return the time in unix seconds."""
        return int(time.time())

    def warn_of_proxy(self, request: Request) -> None:
        """Tell once on stderr that a proxy on this machine is not believed."""
        if self._warned or self.settings.serve.trusted_proxies:
            return
        if is_forwarded(request) and address(request) in {"127.0.0.1", "::1"}:
            self._warned = True
            tell(
                "warning: a proxy on this machine passes requests on, and is not believed who"
                " asks: everybody is 127.0.0.1 in the log."
                ' Set serve.trusted_proxies = ["127.0.0.1"]'
            )

    def report(self, request: Request, error: BaseException) -> None:
        """Tell on stderr of a fault that is not the caller's."""
        told = f"{type(error).__name__}: {error}" if self.debug else type(error).__name__
        tell(f"{request.method} {request.url.path}: failed, {' '.join(told.split())}")
        if self.debug:
            say("".join(traceback.format_exception(error)).rstrip())

    def close(self) -> None:
        """Let what is begun end, write the log, and close the store."""
        for threads in self._threads.values():
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
            tell(" ".join(f"{error.message} {error.hint}".split()))
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
