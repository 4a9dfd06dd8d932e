"""The plugin's own address: asked and answered as Moodle's REST server does it."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qsl

from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import Response

from alxreport import __version__
from alxreport.admission import Caller, recognised
from alxreport.errors import (
    AlxError,
    BusyError,
    DatabaseError,
    NotAuthorisedError,
    RateLimitError,
    UsageError,
)
from alxreport.http_call import CREDENTIAL_REASONS, MOST_PARAMETERS, caller, office
from alxreport.http_reply import budget_headers, refusal_headers, reply
from alxreport.plugin_question import (
    SETTINGS_OF_MOODLE,
    MoodleRefusal,
    PluginQuestion,
    invalid_parameter,
)
from alxreport.plugin_records import (
    FUNCTION,
    moodle_exception_xml,
    moodle_xml,
    php_json,
)
from alxreport.query import query_page

SITE_INFO = "core_webservice_get_site_info"
LARGEST_BODY = 64 * 1024
BODY_SECONDS = 30
JSON, XML = "application/json", "application/xml; charset=utf-8"
# As Moodle's send_headers of the REST server has them.
HEADERS = {
    "Cache-Control": "private, must-revalidate, pre-check=0, post-check=0, max-age=0",
    "Expires": "Thu, 01 Jan 1970 00:00:00 GMT",
    "Pragma": "no-cache",
    "Accept-Ranges": "none",
    "Access-Control-Allow-Origin": "*",
}
PLAIN = "moodle_exception"
XML_HEADERS = {"Content-Disposition": 'inline; filename="response.xml"'}


class BodyError(AlxError):
    """A body that is not read to its end."""

    code = "usage"

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def server_php(request: Request) -> Response:
    """Answer a call of a web service function."""
    request.state.given = given = dict(_pairs(request.scope["query_string"]))
    if request.method == "POST":
        given |= await _form(request)
    request.state.json = given.pop("moodlewsrestformat", "") == "json"
    token, function = given.pop("wstoken", ""), given.pop("wsfunction", None)
    here, now = office(request), office(request).now()
    who = caller(request, _endpoint(function), token)
    headers = dict(HEADERS)
    if function == FUNCTION:
        posted = request.method == "POST" or here.settings.serve.allow_get
        asked = PluginQuestion(given, here.settings.requests.timezone, posted)
        page = await here.run(
            lambda: query_page(
                here.store, here.settings, who, lambda: asked, now, memory=here.memory
            )
        )
        headers |= budget_headers(page.budget, now)
        if request.state.json:
            return await reply(request, page.body, JSON, headers)
        body = await here.run(lambda: moodle_xml(page.records()))
    else:
        told = await here.run(lambda: _other(request, who, function, now), "look")
        if request.state.json:
            return await reply(request, php_json(told), JSON, headers)
        body = moodle_xml(told)
    return await reply(request, body, XML, headers | XML_HEADERS)


def _site_url(request: Request) -> str:
    url = request.base_url
    # A proxy may have named the scheme of a socket.
    return str(url.replace(scheme="https" if url.scheme in {"https", "wss"} else "http")).rstrip(
        "/"
    )


def _endpoint(function: str | None) -> str:
    return {FUNCTION: "plugin", SITE_INFO: "site-info"}.get(function or "", "plugin:other")


def _other(request: Request, who: Caller, function: str | None, now: int) -> dict[str, Any]:
    """Return the answer of the one other function; who may not ask at all learns nothing else."""
    here, given = office(request), request.state.given
    with recognised(here.store, here.settings, who, now) as known:
        if function is None:
            raise invalid_parameter()
        if function != SITE_INFO:
            raise MoodleRefusal(
                "dml_missing_record_exception", "invalidrecord",
                "Can't find data record in database table external_functions.",
            )  # fmt: skip
        if set(given) - {"serviceshortnames[0]", *SETTINGS_OF_MOODLE}:
            raise invalid_parameter()
        return {
            "sitename": known.company.name,
            "username": f"token-{known.token.id}",
            "firstname": known.token.name,
            "lastname": "",
            "fullname": known.token.name,
            "lang": "en",
            "userid": known.token.id,
            "siteurl": _site_url(request),
            "userpictureurl": "",
            "functions": [
                {"name": FUNCTION, "version": __version__},
                {"name": SITE_INFO, "version": __version__},
            ],
            "downloadfiles": 0,
            "uploadfiles": 0,
            "release": f"alxreport {__version__}",
            "version": __version__,
        }


async def _form(request: Request) -> dict[str, str]:
    """Return the fields of a form; a body of another kind has none, as with PHP."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await _body(request)
    if kind == "application/x-www-form-urlencoded":
        return dict(_pairs(body))
    if kind != "multipart/form-data":
        return {}

    async def stream() -> Any:
        yield body
        yield b""

    try:
        parsed = await MultiPartParser(
            request.headers, stream(), max_files=0, max_fields=MOST_PARAMETERS
        ).parse()
    except (MultiPartException, KeyError, ValueError) as error:
        raise invalid_parameter() from error
    return {name: str(value) for name, value in parsed.multi_items()}


async def _body(request: Request) -> bytes:
    """Return the body; BodyError for one that is too large or does not arrive."""
    if not _fits(request.headers.get("content-length", "0")):
        raise BodyError(413, f"The body is larger than {LARGEST_BODY} bytes.")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > LARGEST_BODY:
                    raise BodyError(413, f"The body is larger than {LARGEST_BODY} bytes.")
    except TimeoutError as error:
        raise BodyError(408, "The body did not arrive in time.") from error
    return bytes(body)


def _fits(length: str) -> bool:
    return length.isdecimal() and len(length) < 10 and int(length) <= LARGEST_BODY


def _pairs(text: bytes) -> list[tuple[str, str]]:
    """Return names and values; as with PHP, the last one of a name counts."""
    try:
        found = parse_qsl(
            text.decode("utf-8", "replace"), keep_blank_values=True, errors="replace",
            max_num_fields=MOST_PARAMETERS,
        )  # fmt: skip
    except ValueError as error:
        raise invalid_parameter() from error
    return found


def refuse(request: Request, error: AlxError) -> Response:
    """Return a refusal in Moodle's words; as in Moodle, its status is 200.

    Only what is wrong with the server, or with the body as such, has a status of its own.
    """
    exception, code, message = _in_moodles_words(error)
    status = 200
    if isinstance(error, BodyError):
        status = error.status
    elif isinstance(error, DatabaseError | BusyError):
        status = 503
    elif not isinstance(error, UsageError | NotAuthorisedError | RateLimitError):
        status = 500
    if getattr(request.state, "json", True):
        told = {"exception": exception, "errorcode": code, "message": message}
        response = Response(php_json(told), status, HEADERS, JSON)
    else:
        body = moodle_exception_xml(exception, code, message)
        response = Response(body, status, HEADERS | XML_HEADERS, XML)
    kept = response.headers["Cache-Control"]
    refusal_headers(response, error, office(request).now())
    response.headers["Cache-Control"] = kept
    del response.headers["WWW-Authenticate"]
    if isinstance(error, BodyError):
        response.headers["Connection"] = "close"
    return response


def _in_moodles_words(error: AlxError) -> tuple[str, str, str]:
    """Return exception, error code and message as Moodle has them."""
    if isinstance(error, NotAuthorisedError):
        error = _not_authorised(error.reason)
    elif isinstance(error, RateLimitError):
        error = MoodleRefusal(PLAIN, "ratelimitexceeded", "Daily rate limit exceeded")
    elif isinstance(error, UsageError) and not isinstance(error, MoodleRefusal):
        error = invalid_parameter()
    if isinstance(error, MoodleRefusal):
        return error.exception, error.errorcode, error.message
    return PLAIN, error.code, error.message


def _not_authorised(reason: str) -> MoodleRefusal:
    """Return what webservice_server::authenticate_by_token says, and the plugin after it."""
    if reason == "gone":
        message = "User is not associated with any company"
        return MoodleRefusal(PLAIN, "nocompanyassociation", message)
    if reason in CREDENTIAL_REASONS - {"expired"}:
        return MoodleRefusal(PLAIN, "invalidtoken", "Invalid token - token not found")
    return MoodleRefusal(
        "webservice_access_exception", "accessexception", "Access control exception"
    )
