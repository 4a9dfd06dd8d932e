"""The command that answers requests over HTTP."""

from __future__ import annotations

import ipaddress
from importlib.util import find_spec
from typing import Annotated

import typer

from alxreport.cli_options import Config, Debug, read_settings

NEEDED = ("starlette", "uvicorn", "httptools", "python_multipart", "odata_query")
MOST_WORKERS = 64


def serve(
    context: typer.Context,
    host: Annotated[
        str | None, typer.Option("--host", help="Address to listen on; 127.0.0.1 if not set.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", min=1, max=65535, help="Port to listen on; 8080 if not set."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, max=MOST_WORKERS, help="Processes; 1 if not set."),
    ] = None,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Answer requests over HTTP until stopped: API, OData and the Moodle plugin's address."""
    from alxreport.errors import ConfigError
    from alxreport.extras import install_hint

    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"Serving needs the package {missing[0].replace('_', '-')}.",
            install_hint("serve"),
        )
    from alxreport.http_log import say
    from alxreport.http_server import Place, listen
    from alxreport.http_server import serve as run
    from alxreport.rate_limit import zone
    from alxreport.sessions import open_requests
    from alxreport.settings import Settings, load_settings

    settings = read_settings(context, config)
    chosen = settings.serve
    place = Place(
        chosen.host if host is None else host,
        chosen.port if port is None else port,
        chosen.workers if workers is None else workers,
    )
    zone(settings.requests.timezone)
    open_requests(settings.store).close()  # what is wrong with it is told before anybody calls
    listener = listen(place)
    scheme = "https" if chosen.tls_cert else "http"
    shown = f"[{place.host}]" if ":" in place.host else place.host
    many = "1 worker" if place.workers == 1 else f"{place.workers} workers"
    say(f"alxreport: serving on {scheme}://{shown}:{place.port}, {many}")
    if scheme == "http" and not _is_local(place.host):
        say(
            "alxreport: warning: tokens travel unencrypted; put a proxy with TLS in front,"
            " or set serve.tls_cert and serve.tls_key"
        )

    def load() -> Settings:
        found = load_settings(config or context.obj)
        zone(found.requests.timezone)
        return found

    run(settings, load, place, listener, debug=debug)
    say("alxreport: stopped")


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
