"""Pictures of tokens, limits, the cache and what is set for companies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from alxreport.company_admin import CompanyCourse
from alxreport.token_admin import Imported, TokenView
from alxreport.views import new_table, plural, shown_time, word


def show_tokens(out: Console, tokens: Sequence[TokenView]) -> None:
    """Show a table of tokens."""
    if not tokens:
        out.print("There is no token yet. Make one: alxreport token create --company C")
        return
    times = ("Expires (UTC)", "Last used (UTC)")  # kept in one piece, as numbers are
    table = new_table("Id", "Company", "Name", "State", *times, numbers=("Id", *times))
    for token in tokens:
        table.add_row(
            str(token.id), escape(token.company), escape(token.name), _state(token),
            _minute(token.expires_at), _minute(token.last_used_at),
        )  # fmt: skip
    out.print(table)


def _minute(iso: str | None) -> str:
    """Return a moment without its seconds, which would break the line at 80 columns."""
    return shown_time(iso, "never")[:16]


def _state(token: TokenView) -> Text:
    state = word(token.state)
    return state.append(f", replaced by {token.replaced_by}") if token.replaced_by else state


def show_token(out: Console, token: TokenView) -> None:
    """Show one token, a line each."""
    lines = {
        "Token": str(token.id),
        "Company": f"{token.company} (id:{token.company_id})",
        "Name": token.name or "-",
        "State": token.state,
        "Made by": token.origin,
        "Networks": ", ".join(token.networks) or "everywhere",
        "Created": shown_time(token.created_at, "-"),
        "Expires": shown_time(token.expires_at, "never"),
        "Last used": shown_time(token.last_used_at, "never")
        + (f" from {token.last_ip}" if token.last_ip else ""),
        "Replaced by": f"token {token.replaced_by}" if token.replaced_by else "-",
    }
    for name, value in lines.items():
        out.print(Text(f"{name:<12}{value}"))


def show_imported_tokens(out: Console, found: Sequence[Imported]) -> None:
    """Show what became of each token of Moodle's."""
    if not found:
        out.print("Moodle has no token of the plugin's service.")
        return
    table = new_table("Moodle id", "User", "Company", "Result", "Why", numbers=("Moodle id",))
    for item in found:
        result = f"{item.status} as {item.token}" if item.token else item.status
        table.add_row(str(item.moodle_id), escape(item.user), escape(item.company),
                      result, escape(item.reason))  # fmt: skip
    out.print(table)
    refused = sum(item.status == "refused" for item in found)
    if refused:
        out.print(f"{plural(refused, 'token')} refused; make others: alxreport token create")


def show_limits(out: Console, found: Sequence[dict[str, Any]]) -> None:
    """Show the budgets of today."""
    if not found:
        out.print("No company was synced yet.")
        return
    table = new_table("Company", "Used", "Limit", "Left", "Refused", "State", "Resets in",
                      numbers=("Used", "Limit", "Left", "Refused"))  # fmt: skip
    for item in found:
        limit = f"{item['limit']:,}" if item["limit"] else "unlimited"
        left = "-" if item["left"] is None else f"{item['left']:,}"
        hours, rest = divmod(item["resets_in_seconds"], 3600)
        table.add_row(
            escape(item["company"]), f"{item['used']:,}", limit, left, f"{item['refused']:,}",
            word(item["state"]), f"{hours} h {rest // 60:02} min",
        )  # fmt: skip
    out.print(table)


def show_cache(out: Console, found: dict[str, Any]) -> None:
    """Show what the cache holds and how it serves."""
    size, most = found["bytes"] / 1e6, found["most_bytes"] / 1e6
    out.print(f"{plural(found['entries'], 'page')} kept, {size:.1f} of {most:.0f} MB")
    rate = found["hit_rate_24h"]
    if rate is None:
        out.print("24 hours: no data yet")
    else:
        out.print(
            f"24 hours: {plural(found['hits_24h'], 'hit')},"
            f" {plural(found['misses_24h'], 'miss', 'misses')}, {rate:.0%} hit rate"
        )


def show_company(out: Console, found: dict[str, Any]) -> None:
    """Show what is set for a company."""
    out.print(Text(f"{found['name']} ({found['shortname']}, id:{found['id']})", style="bold"))
    out.print(
        f"{plural(found['rows'], 'row')}, revision {found['revision']},"
        f" synced {shown_time(found['synced_at'], 'never')}"
    )
    table = new_table("Setting", "Value", "From", "Meaning")
    for name, item in found["settings"].items():
        origin = "default" if item["default"] else "company"
        table.add_row(name, str(item["value"]), origin, escape(item["meaning"]))
    limit = found["limit"]
    table.add_row("rate limit", str(limit["limit"] or "unlimited"),
                  "default" if limit["default"] else "company",
                  f"{limit['used']} used today; see 'alxreport limit'")  # fmt: skip
    out.print(table)
    out.print(Text(f"Fields: {', '.join(found['fields']) or 'none'}"))
    if found["courses_off"]:
        out.print(f"Courses off: {', '.join(map(str, found['courses_off']))}")


def show_courses(out: Console, found: Sequence[CompanyCourse]) -> None:
    """Show a company's courses."""
    if not found:
        out.print("The company has no course.")
        return
    table = new_table("Id", "Course", "Reported", numbers=("Id",))
    for course in found:
        state = "off" if not course.enabled else "yes" if course.visible else "no: hidden in Moodle"
        table.add_row(str(course.id), escape(course.name), state)
    out.print(table)


def show_imported_settings(out: Console, found: Sequence[dict[str, Any]]) -> None:
    """Show what was copied from the plugin."""
    if not found:
        out.print("The plugin has no settings of any company.")
        return
    for item in found:
        values = ", ".join(f"{name} = {value}" for name, value in item["settings"].items())
        name = item["company"] or f"id:{item['id']}"
        out.print(Text(f"{name}: {values or 'nothing differs from the defaults'}"))
        for note in item["notes"]:
            out.print(Text(f"  {note}"))
