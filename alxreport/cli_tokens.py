"""The commands about credentials and their use: token, limit, cache."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from alxreport.cli_options import (
    Config,
    Debug,
    Json,
    NamedCompany,
    OneCompany,
    open_requests,
    print_json,
    read_settings,
)
from alxreport.command_group import Table, group

TOKENS: Table = {
    "create": ("cli_tokens:create", "Make a token; its secret is printed this once."),
    "list": ("cli_tokens:list_all", "List the tokens."),
    "show": ("cli_tokens:show", "Show one token."),
    "revoke": ("cli_tokens:revoke", "End a token at once."),
    "rotate": ("cli_tokens:rotate", "Replace a token; the old one lives on for a while."),
    "import-moodle": ("cli_tokens:import_moodle", "Take over the tokens of the PHP plugin."),
}
LIMITS: Table = {
    "show": ("cli_tokens:limit_show", "Show what is used and left today."),
    "set": ("cli_tokens:limit_set", "Set the requests of a company a day; 0 = unlimited."),
    "reset": ("cli_tokens:limit_reset", "Give a company its requests of today again."),
}
CACHE: Table = {
    "show": ("cli_tokens:cache_show", "Show what is kept and how often it served."),
    "clear": ("cli_tokens:cache_clear", "Drop what is kept."),
}


app = group(TOKENS, "The credentials with which a company's rows are asked for.")
limit_app = group(LIMITS, "How many requests a company may make a day.")
cache_app = group(CACHE, "The pages that are kept for a while.")

Output = Annotated[
    Path | None,
    typer.Option("--output", metavar="FILE", help="Write the secret there, for its owner alone."),
]
Number = Annotated[int, typer.Argument(metavar="ID", help="The token's number.")]
MaybeCompany = Annotated[
    str | None, typer.Argument(metavar="[C]", help="Short name, id, or id:NUMBER.")
]


def create(
    context: typer.Context,
    company: OneCompany,
    name: Annotated[str, typer.Option("--name", metavar="N", help="What it is for.")] = "",
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="90d", help="How long it lives; else for good."),
    ] = None,
    ip: Annotated[
        list[str] | None,
        typer.Option("--ip", metavar="CIDR", help="Only from this network; may be repeated."),
    ] = None,
    output: Output = None,
    as_json: Json = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Make a token of a company; its secret is printed this once, alone, on stdout."""
    del debug
    from alxreport.errors import UsageError
    from alxreport.token_admin import create_token

    store = open_requests(context, read_settings(context, config))
    if output is not None and output.is_file():
        raise UsageError(
            f"{output} exists already, and may hold a token that is in use.",
            "Name a new file in --output.",
        )
    with _place(output) as write:
        token, secret = create_token(
            store, company=company, name=name, now=int(time.time()), expires=expires,
            networks=ip or (),
        )  # fmt: skip
        write(secret)
    _hand_over(token, None if output else secret, as_json)


@contextmanager
def _place(output: Path | None) -> Iterator[Callable[[str], object]]:
    """Yield what writes a secret to the file that was named, if one was.

    The file is opened before the token is made: none is made whose secret would be lost.
    """
    if output is None:
        yield lambda _secret: None
        return
    from alxreport.whole_file import whole_file

    with whole_file(output) as file:
        yield lambda secret: file.write(f"{secret}\n".encode())


def _hand_over(token: Any, secret: str | None, as_json: bool, **more: Any) -> None:
    if as_json and secret is None:
        print_json(asdict(token) | more)
        return
    if as_json:
        print_json(asdict(token) | more | {"token": secret})
        return
    until = f"until {token.expires_at}" if token.expires_at else "without an end"
    keep = " Keep it: this is shown once." if secret else ""
    typer.echo(f"Token {token.id} of {token.company}, {until}.{keep}", err=True)
    if secret:
        typer.echo(secret)


def list_all(
    context: typer.Context,
    company: Annotated[
        str | None, typer.Option("--company", metavar="C", help="Only this company's.")
    ] = None,
    as_json: Json = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """List the tokens."""
    del debug
    from alxreport.token_admin import list_tokens

    store = open_requests(context, read_settings(context, config))
    found = list_tokens(store, company=company, now=int(time.time()))
    if as_json:
        print_json([asdict(token) for token in found])
    else:
        from alxreport import request_views, views

        request_views.show_tokens(views.console(sys.stdout), found)


def show(
    context: typer.Context,
    number: Number,
    as_json: Json = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Show one token."""
    del debug
    from alxreport.token_admin import show_token

    store = open_requests(context, read_settings(context, config))
    _show(show_token(store, number, int(time.time())), as_json)


def _show(token: Any, as_json: bool) -> None:
    if as_json:
        print_json(asdict(token))
    else:
        from alxreport import request_views, views

        request_views.show_token(views.console(sys.stdout), token)


def revoke(
    context: typer.Context,
    number: Number,
    as_json: Json = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """End a token at once."""
    del debug
    from alxreport.token_admin import revoke_token

    store = open_requests(context, read_settings(context, config))
    token, done = revoke_token(store, number, int(time.time()))
    if as_json:
        print_json(asdict(token))
    else:
        word = "is revoked" if done else "was revoked before"
        typer.echo(f"Token {token.id} of {token.company} {word}.", err=True)


def rotate(
    context: typer.Context,
    number: Number,
    grace: Annotated[
        str, typer.Option("--grace", metavar="24h", help="How long the old one lives on; 0 = not.")
    ] = "24h",
    expires: Annotated[
        str | None,
        typer.Option(
            "--expires", metavar="90d", help="How long the new one lives; else as the old"
        ),
    ] = None,
    output: Output = None,
    as_json: Json = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Replace a token; the secret of the new one is printed this once, alone, on stdout."""
    del debug
    from alxreport.token_admin import rotate_token

    store = open_requests(context, read_settings(context, config))
    with _place(output) as write:
        old, new, secret = rotate_token(
            store, number, grace=grace, expires=expires, now=int(time.time())
        )
        write(secret)
    if not as_json:
        word = "has ended" if old.state == "expired" else f"ends at {old.expires_at}"
        typer.echo(f"Token {old.id} {word}.", err=True)
    _hand_over(
        new, None if output else secret, as_json, replaces=old.id, old_expires_at=old.expires_at
    )


def import_moodle(
    context: typer.Context, as_json: Json = False, config: Config = None, debug: Debug = False
) -> None:
    """Take over the tokens of the PHP plugin, so that existing reports need no change."""
    del debug
    from alxreport.token_admin import import_tokens

    settings = read_settings(context, config)
    found = import_tokens(open_requests(context, settings), settings, int(time.time()))
    if as_json:
        print_json([asdict(token) for token in found])
    else:
        from alxreport import request_views, views

        request_views.show_imported_tokens(views.console(sys.stdout), found)


def limit_show(
    context: typer.Context,
    company: MaybeCompany = None,
    as_json: Json = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Show what is used and left today, of one company or of all."""
    del debug
    from alxreport.limit_admin import limits

    settings, now = read_settings(context, config), int(time.time())
    found = [
        limit.as_dict(now)
        for limit in limits(open_requests(context, settings), settings, company, now)
    ]
    if as_json:
        print_json(found[0] if company is not None else found)
    else:
        from alxreport import request_views, views

        request_views.show_limits(views.console(sys.stdout), found)


def limit_set(
    context: typer.Context,
    company: NamedCompany,
    limit: Annotated[
        str, typer.Argument(metavar="N", help="Requests a day; 0 = unlimited; or default.")
    ],
    as_json: Json = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Set the requests of a company a day; 0 = unlimited."""
    del debug
    from alxreport.limit_admin import set_limit

    settings = read_settings(context, config)
    value = set_limit(open_requests(context, settings), settings, company, limit, int(time.time()))
    if as_json:
        print_json({"limit": value})
    else:
        typer.echo(f"{company}: {value or 'unlimited'} requests a day", err=True)


def limit_reset(
    context: typer.Context,
    company: NamedCompany,
    as_json: Json = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Give a company its requests of today again."""
    del debug
    from alxreport.limit_admin import reset_limit

    settings = read_settings(context, config)
    used = reset_limit(open_requests(context, settings), settings, company, int(time.time()))
    if as_json:
        print_json({"used_before": used})
    else:
        typer.echo(f"{company}: 0 used again, instead of {used}", err=True)


def cache_show(
    context: typer.Context,
    company: MaybeCompany = None,
    as_json: Json = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Show what is kept and how often it served in the last 24 hours."""
    del debug
    from alxreport.limit_admin import show_cache

    settings = read_settings(context, config)
    found = show_cache(open_requests(context, settings), settings, company, int(time.time()))
    if as_json:
        print_json(found)
    else:
        from alxreport import request_views, views

        request_views.show_cache(views.console(sys.stdout), found)


def cache_clear(
    context: typer.Context,
    company: MaybeCompany = None,
    as_json: Json = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Drop what is kept, of one company or of all."""
    del debug
    from alxreport.limit_admin import clear_cache

    store = open_requests(context, read_settings(context, config))
    dropped = clear_cache(store, company)
    if as_json:
        print_json({"dropped": dropped})
    else:
        typer.echo(f"{dropped} pages dropped", err=True)
