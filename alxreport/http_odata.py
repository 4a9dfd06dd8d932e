"""The OData feed's address: headers in, headers out; what it says is made elsewhere."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from alxreport import odata
from alxreport.errors import AlxError
from alxreport.http_call import caller, office, query_items, token_of
from alxreport.http_reply import budget_headers, in_words_of_http, refusal_headers, reply, status_of

JSON = "application/json"


async def answer(request: Request) -> Response:
    """Answer one address of the feed."""
    here, now = office(request), office(request).now()
    who = caller(request, "odata", token_of(request), request.query_params.get("company"))
    headers = request.headers
    call = odata.Call(
        request.path_params["path"], lambda: query_items(request), headers.get("prefer", ""),
        headers.get("accept", ""),
    )  # fmt: skip
    told = await here.run(
        lambda: odata.answer(here.store, here.settings, who, call, now, memory=here.memory),
        _kind(call),
    )
    more = {"Cache-Control": "private, no-store", **budget_headers(told.budget, now)}
    return await reply(request, told.body, told.content_type, told.headers | more, told.status)


def _kind(call: odata.Call) -> str:
    if call.path in {"", "$metadata"}:
        return "look"
    # The caller's own condition or order may take long, and holds up those of others only.
    return "search" if call.has("$filter", "$orderby") else "request"


def refuse(request: Request, error: AlxError) -> Response:
    """Return a refusal in OData's form."""
    message = " ".join(in_words_of_http(error)).strip()
    body = odata.error_body(error, message)
    response = Response(body, status_of(error), odata.VERSION, JSON)
    return refusal_headers(response, error, office(request).now())
