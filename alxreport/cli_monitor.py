"""The commands that watch: monitor, alerts, metrics."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from alxreport.cli_options import Config, Debug, Json, open_requests, print_json, read_settings
from alxreport.command_group import Table, group

if TYPE_CHECKING:
    from alxreport.screens import Screen
    from alxreport.sessions import Store
    from alxreport.settings import Settings
    from alxreport.snapshots import Snapshot

VIEWS = ("auto-sync", "performance", "security")
WATCH_SECONDS = 5
ALERTS: Table = {
    "list": ("cli_monitor:alerts_list", "List what is wrong now, and what was lately."),
    "check": ("cli_monitor:alerts_check", "Look for what is wrong; one Nagios line and code."),
    "ack": ("cli_monitor:alerts_ack", "Note that somebody takes care of an alert."),
}

alerts_app = group(ALERTS, "What is wrong, and who is told.")


class _Watching(TyperCommand):
    """A command whose ``--watch`` may take seconds, behind a space or an equals sign."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Give the seconds a place among the arguments."""
        words: list[str] = []
        for word in args:
            name, sign, value = word.partition("=")
            words += [name, value] if name == "--watch" and sign else [word]
        return super().parse_args(ctx, words)


def monitor(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[auto-sync|performance|security] [SECONDS]",
            help="One view instead of all three; how often --watch looks again.",
            show_default=False,
        ),
    ] = None,
    watch: Annotated[
        bool,
        typer.Option("--watch", help=f"Look again every {WATCH_SECONDS} (or SECONDS) seconds."),
    ] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="F", help="Write all three as one page.")
    ] = None,
    as_json: Json = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Show at a glance whether the sync runs, how requests are answered, and who was refused."""
    del debug
    keys, seconds = _understood(words or (), watch)
    _compatible(watch, html, as_json)
    settings = read_settings(context, config)
    store = _Watched(context, settings)

    def take() -> Snapshot:
        return _taken(store.now(), settings)

    if as_json:
        figures = take().as_dict()
        left_out = {key.replace("-", "_") for key in VIEWS if keys and key not in keys}
        print_json({name: value for name, value in figures.items() if name not in left_out})
    elif html is not None:
        from alxreport import monitor_html
        from alxreport.whole_file import whole_file

        with whole_file(html, option="--html") as file:
            found = take()
            page = monitor_html.page(_screen(found, settings), written=found.at)
            file.write(page.encode())
        typer.echo(f"Wrote {html}.", err=True)
    else:
        from alxreport import monitor_views

        console = monitor_views.console(sys.stdout)
        if watch:
            _end_by_signals()
            monitor_views.watch(console, lambda: _screen(take(), settings), seconds, keys)
        else:
            monitor_views.show_screen(console, _screen(take(), settings), keys)


def _end_by_signals() -> None:
    """Let the signals that end a process give the terminal back first, as an interrupt does."""
    import signal

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), end)


def _understood(words: Sequence[str], watch: bool) -> tuple[tuple[str, ...], float]:
    """Return the views that were named, and the seconds between two looks."""
    from alxreport.errors import UsageError

    keys: tuple[str, ...] = ()
    seconds = float(WATCH_SECONDS)
    for word in words:
        number = _number(word)
        if word in VIEWS and not keys:
            keys = (word,)
        elif watch and number is not None:
            seconds = number
        else:
            raise UsageError(
                f"There is no view {word!r}." if number is None or watch
                else f"{word!r} is no view; seconds go with --watch.",
                f"The views are {', '.join(VIEWS)}; without a name all are shown.",
            )  # fmt: skip
    if not 1 <= seconds <= 86_400:
        raise UsageError("--watch looks again after 1 to 86400 seconds.", "Try: --watch 5")
    return keys, seconds


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


def _compatible(watch: bool, html: Path | None, as_json: bool) -> None:
    from alxreport.errors import UsageError

    chosen = [name for name, is_on in (("--watch", watch), ("--html", html is not None),
                                       ("--json", as_json)) if is_on]  # fmt: skip
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)} exclude each other.", "Choose one of them.")


def _store(context: typer.Context, settings: Settings, *, expected: bool = False) -> Store:
    """Open the store; where there is none yet, an empty one that stands in for it.

    Where one is ``expected`` and cron runs the sync already, that there is none is told.
    """
    from alxreport.errors import ConfigError, NoStoreError

    try:
        return open_requests(context, settings)
    except NoStoreError:
        from alxreport.cron import next_sync_run
        from alxreport.monitor import stand_in

        if expected and not settings.moodle.url:
            raise ConfigError("Nothing is configured.", "Run: alxreport init") from None
        if expected and next_sync_run(int(time.time()), settings.path) is not None:
            raise
        return context.with_resource(stand_in())


class _Watched:
    """The store at each look: one that was not there at the first may be there at the next."""

    def __init__(self, context: typer.Context, settings: Settings) -> None:
        self._context, self._settings = context, settings
        self._store: Store | None = None
        self._stand_in: Store | None = None

    def now(self) -> Store:
        """Return the store, or the empty one that stands in for it."""
        from alxreport.errors import NoStoreError
        from alxreport.monitor import stand_in

        if self._store is None:
            try:
                self._store = open_requests(self._context, self._settings)
            except NoStoreError:
                if self._stand_in is None:
                    self._stand_in = self._context.with_resource(stand_in())
                return self._stand_in
        return self._store


def _taken(store: Store, settings: Settings) -> Snapshot:
    from alxreport.cron import next_sync_run
    from alxreport.monitor import take

    now = int(time.time())
    return take(store, settings, now=now, next_sync_at=next_sync_run(now, settings.path))


def _screen(snapshot: Snapshot, settings: Settings) -> Screen:
    from alxreport.monitor_screens import screen
    from alxreport.rate_limit import zone

    return screen(snapshot, settings.alerts, zone(settings.requests.timezone))


def metrics(
    context: typer.Context,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="F", help="A file for a textfile collector."),
    ] = None,
    as_json: Json = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Print the monitor's figures for Prometheus."""
    del debug
    from alxreport.metrics import text
    from alxreport.whole_file import whole_file

    settings = read_settings(context, config)
    found = _taken(_store(context, settings), settings)
    if as_json and output is None:
        print_json(found.as_dict())
        return
    told = text(found).encode()
    if output is None:
        sys.stdout.buffer.write(told)
        return
    # A collector is another user; there is nobody's name in it but the companies'.
    with whole_file(output, mode=0o644) as file:
        file.write(told)


def alerts_list(
    context: typer.Context, as_json: Json = False, config: Config = None, debug: Debug = False
) -> None:
    """List what is wrong now, and what was within the last seven days.

    It shows what the last check found; 'alxreport alerts check' looks again.
    """
    del debug
    from alxreport.alerts import list_alerts, told

    settings = read_settings(context, config)
    found = list_alerts(_store(context, settings), int(time.time()))
    if as_json:
        print_json([told(alert) for alert in (*found.open, *found.closed)])
    else:
        from alxreport import alert_views, views
        from alxreport.rate_limit import zone

        where = zone(settings.requests.timezone)
        alert_views.show_alerts(views.console(sys.stdout), found, int(time.time()), where)


def alerts_check(
    context: typer.Context,
    notify: Annotated[
        bool, typer.Option("--notify", help="Tell the addresses of alerts.urls what is new.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Say nothing unless telling fails (for cron).")
    ] = False,
    as_json: Json = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Look for what is wrong: one Nagios line; ends 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN."""
    from alxreport.again import until_done
    from alxreport.alerts import EXIT_CODES, UNKNOWN, check, nagios_line
    from alxreport.errors import AlxError
    from alxreport.telling import tell
    from alxreport.token_form import without_secrets

    failures: list[str] = []
    try:
        settings, now = read_settings(context, config), int(time.time())
        # A cluster that counts its nodes is there again in a moment; who is not there is told.
        store = until_done(
            lambda _attempt: _store(context, settings, expected=True), lambda _error: False
        )
        checked = until_done(lambda _attempt: check(store, settings, now), lambda _error: False)
        if notify:
            failures = tell(store, settings, checked, now, lambda text: typer.echo(text, err=True))
    except Exception as error:
        # A fault of ours is no WARNING to who reads the exit code, which 1 would be.
        if debug and not isinstance(error, AlxError):
            raise
        known = error if isinstance(error, AlxError) else AlxError(
            without_secrets(f"Unexpected {type(error).__name__}: {error}."),
            "This is a fault of alxreport; see it with --debug.",
        )  # fmt: skip
        if as_json:
            print_json({"status": UNKNOWN, "message": known.message, "hint": known.hint})
        else:
            typer.echo(nagios_line(UNKNOWN, f"{known.message} {known.hint}"), err=quiet)
        raise typer.Exit(EXIT_CODES[UNKNOWN]) from error
    for failure in failures:
        typer.echo(f"alxreport: {failure}", err=True)
    if as_json:
        print_json(checked.as_dict() | {"not_told": failures})
    elif not quiet:
        typer.echo(checked.line())
    raise typer.Exit(EXIT_CODES[checked.status])


def alerts_ack(
    context: typer.Context,
    number: Annotated[
        int, typer.Argument(metavar="ID", min=0, max=2**63 - 1, help="The alert's number.")
    ],
    as_json: Json = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Note that somebody takes care of an alert: nobody is reminded of it any more."""
    del debug
    from alxreport.alerts import acknowledge, told
    from alxreport.settings import user_name

    store = _store(context, read_settings(context, config))
    alert, done = acknowledge(store, number, who=user_name(), now=int(time.time()))
    if as_json:
        print_json(told(alert))
    else:
        word = "is acknowledged" if done else f"was acknowledged before by {alert.acknowledged_by}"
        typer.echo(f"Alert {alert.id} {word}. It stays open until its cause is gone.", err=True)


monitor_app = typer.Typer(add_completion=False)
monitor_app.command("monitor", cls=_Watching)(monitor)
