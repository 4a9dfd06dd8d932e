"""Screens of five mornings, made by hand: fresh, healthy, failing, attacked, and 200 companies."""

from __future__ import annotations

from dataclasses import replace

from alxreport.screens import AlertLine, Card, Cell, Chart, Column, Point, Screen, Table, View

AT = "2026-07-15 08:05 Europe/Berlin"
NO_DATA = "no data yet"
DAYS = ("Thu 09", "Fri 10", "Sat 11", "Sun 12", "Mon 13", "Tue 14", "Wed 15")
HOURS = tuple(f"{(hour + 9) % 24:02}:00" for hour in range(24))  # the last one is now
NAMES = (
    "Müller & Söhne GmbH", "مؤسسة التدريب المهني", "חברת ההדרכה (צפון) בע״מ", "東京研修株式会社",
    "Société Générale de Formation Continue et d'Apprentissage du Grand Est", "Ångström [red]AB[/]",
    "한국교육 주식회사", "🎓 Academy 👩‍🏫", "e\u0301cole de commerce", "\x1b[31mRed\nCompany",
    "Полярная звезда", "บริษัท ฝึกอบรม จำกัด",
)  # fmt: skip

COMPANIES = (
    Column("Company", long=True), Column("Status"), Column("Last sync", rank=1),
    Column("Rows", right=True), Column("Created", right=True, rank=3),
    Column("Updated", right=True, rank=3), Column("Deleted", right=True, rank=3),
    Column("Errors", right=True, rank=2), Column("Duration", right=True, rank=4),
)  # fmt: skip
CONSUMERS = (
    Column("Company", long=True), Column("Calls", right=True), Column("Rows", right=True, rank=1),
    Column("Average", right=True, rank=2), Column("Share", right=True),
)  # fmt: skip
VIOLATIONS = (
    Column("Company", long=True), Column("Used / limit today", right=True),
    Column("Refused", right=True), Column("Last", rank=1),
)  # fmt: skip
ERRORS = (
    Column("When"), Column("Caller", long=True), Column("Company", rank=2, long=True),
    Column("Asked", rank=3), Column("Error"),
)  # fmt: skip
TYPES = (Column("Error"), Column("Count", right=True))


def texts(*values):
    """Return a row; a value may be a text or a cell."""
    return tuple(value if isinstance(value, Cell) else Cell(value) for value in values)


def company(name, number, *, failed=False, at="08:02"):
    """Return a row of the companies' table."""
    status = Cell("failed", "critical") if failed else Cell("ok", "ok")
    errors = Cell("1", "critical") if failed else Cell("0")
    last = "2026-07-14 23:02" if failed else at
    created, updated, deleted = number % 90, number % 37, number % 5
    return texts(
        name, status, last, f"{number * 131 % 60_000:,}", f"{created}", f"{updated}", f"{deleted}",
        errors, f"{number % 60 / 10:.1f} s",
    )  # fmt: skip


def days(*rates):
    """Return the chart of seven days; a rate is a count of 24 runs, or None."""
    points = [
        Point(day, (None,), "no run", "muted") if good is None
        else Point(day, (good / 24 * 100,), f"{int(good / 24 * 1000) / 10:g} %, {good} of 24",
                   "ok" if good == 24 else "warning")
        for day, good in zip(DAYS, rates, strict=True)
    ]  # fmt: skip
    return Chart("Sync success, 7 days", "%", ("successful runs",), tuple(points),
                 "No sync has run in these seven days.", top=100.0)  # fmt: skip


def hours(figures):
    """Return the chart of 24 hours; a figure is an average and a p95 in ms, or None."""
    points = [
        Point(hour, (None, None), "no page", "muted") if figure is None
        else Point(hour, figure, f"average {figure[0]} ms, p95 {figure[1] / 1000:.2f} s",
                   "warning" if figure[1] > 5000 else "plain")
        for hour, figure in zip(HOURS, figures, strict=True)
    ]  # fmt: skip
    return Chart("Response time, 24 hours", "ms", ("average", "p95"), tuple(points),
                 "No page was asked for in these 24 hours.", threshold=5000.0,
                 threshold_told="limit 5 s")  # fmt: skip


def auto_sync(cards, chart, rows):
    return View("auto-sync", "Auto-Sync", cards, chart, (
        Table("Companies, changes of 24 hours", COMPANIES, tuple(rows),
              "No company was synced yet."),
    ))  # fmt: skip


def performance(cards, chart, consumers, database):
    return View("performance", "Performance", cards, chart, (
        Table("Top consumers, 24 hours", CONSUMERS, tuple(consumers), "Nobody asked in 24 hours."),
        Table("Database", (Column("Figure"), Column("Value", long=True)), tuple(database), ""),
    ))  # fmt: skip


def security(cards, violations=(), errors=(), types=()):
    return View("security", "Security", cards, None, (
        Table("Beyond the rate limit, 24 hours", VIOLATIONS, tuple(violations),
              "Nobody went beyond the limit."),
        Table("Recent errors", ERRORS, tuple(errors), "No request was refused or failed."),
        Table("Errors by type, 24 hours", TYPES, tuple(types), "None."),
    ))  # fmt: skip


def fresh():
    """Return the screen after 'alxreport init': nothing was measured."""
    nothing = [Card(label, NO_DATA, "muted") for label in (
        "Records 24 h", "Errors 24 h", "Success 7 days", "API calls 24 h", "Average response",
        "p95 response", "Success", "Cache hits", "Records 24 h",
    )]  # fmt: skip
    return Screen(AT, (), (
        auto_sync(
            (Card("Status", "Never run", "muted", "run: alxreport sync"),
             Card("Last Sync", NO_DATA, "muted"),
             Card("Next Sync", "not scheduled", "muted", "run: alxreport cron install"),
             Card("Companies", NO_DATA, "muted"), *nothing[:3]),
            days(*[None] * 7), ()),
        performance(
            tuple(nothing[3:]), hours([None] * 24), (),
            (texts("Size", "155.6 kB"), texts("Live rows", "0"),
             texts("Last verify", Cell("never; run: alxreport verify", "muted")),
             texts("Oldest log entry", NO_DATA))),
        security((Card("Active tokens", "0"), Card("Over the limit 24 h", NO_DATA, "muted"),
                  Card("Failed log-ins 24 h", NO_DATA, "muted"),
                  Card("Suspicious callers 24 h", NO_DATA, "muted"))),
    ))  # fmt: skip


def healthy():
    """Return a good morning's screen."""
    calm = [None if 14 <= place <= 19 else (180 + place * 7 % 60, 420 + place * 37 % 300)
            for place in range(24)]  # fmt: skip
    rows = [
        company(name, 400 + place * 977)
        for place, name in enumerate(
            ("Acme Ltd", "Brightwater College", "Cobalt Health Trust", "Müller & Söhne GmbH")
        )
    ]
    return Screen(AT, (), (
        auto_sync(
            (Card("Status", "Active", "ok"), Card("Last Sync", "08:02", note="3 min ago"),
             Card("Next Sync", "09:02", note="in 57 min"),
             Card("Companies", "4 / 4", "ok", "synced / all"),
             Card("Records 24 h", "1,204", note="1,100 new, 96 changed, 8 gone"),
             Card("Errors 24 h", "0", "ok", "of 96 company syncs"),
             Card("Success 7 days", "100 %", "ok", "of 167 runs")),
            days(24, 24, 24, 24, 24, 24, 24), rows),
        performance(
            (Card("API calls 24 h", "18,204"), Card("Average response", "212 ms"),
             Card("p95 response", "640 ms", "ok", "limit 5 s"),
             Card("Success", "100 %", "ok", "0 failed"),
             Card("Cache hits", "87.4 %", note="15,910 of 18,204"),
             Card("Records 24 h", "1,402,776", note="handed out")),
            hours(calm),
            (texts("Acme Ltd", "9,104", "702,776", "201 ms", "50.0 %"),
             texts("Müller & Söhne GmbH", "9,100", "700,000", "223 ms", "49.9 %")),
            (texts("Size", "84.2 MB"), texts("Live rows", "402,776"),
             texts("Deleted rows kept", "1,048"),
             texts("Last verify", Cell("03:10, nothing wrong", "ok")),
             texts("Cached pages", "1,204 (48.1 MB)"),
             texts("Oldest log entry", "2026-04-16 08:00"))),
        security((Card("Active tokens", "14"), Card("Over the limit 24 h", "0", "ok", "none"),
                  Card("Failed log-ins 24 h", "0", "ok", "none"),
                  Card("Suspicious callers 24 h", "0", "ok", "none"))),
    ))  # fmt: skip


def failing():
    """Return the morning after Moodle's database went away for some companies."""
    good, rest = (
        healthy(),
        ("Acme Ltd", "Brightwater College", "Dover Shipping", "Elm Park Schools"),
    )
    rows = [
        company(name, 800 + place * 977, failed=True)
        for place, name in enumerate(("Müller & Söhne GmbH", "Cobalt Health Trust"))
    ]
    rows += [company(name, 300 + place * 1_411) for place, name in enumerate(rest)]
    slow = [None if 14 <= place <= 19 else (240 + place * 9, 900 + place * 211 % 2_400)
            for place in range(22)] + [(1_950, 5_400), (2_310, 6_120)]  # fmt: skip
    alerts = (
        AlertLine("critical", "The sync of Müller & Söhne GmbH failed: Lost connection to MySQL "
                  "server during query. The data are of 2026-07-14T21:02:00Z.",
                  "00:02 (8 h 3 min ago)",
                  "Put right what it says, then run: alxreport sync --company id:4", number=12),
        AlertLine("critical", "The sync of Cobalt Health Trust failed: Lost connection to MySQL "
                  "server during query. The data are of 2026-07-14T21:02:00Z.",
                  "00:02 (8 h 3 min ago)",
                  "Put right what it says, then run: alxreport sync --company id:3", number=13),
        AlertLine("warning", "One page in twenty took 5.4 s or longer in 24 hours (limit 5 s).",
                  "just found", "See when and for whom: alxreport monitor performance"),
        AlertLine("warning", "18 of 144 syncs of companies failed in 24 hours (12.5 %, limit 5 %).",
                  "02:02 (6 h 3 min ago)", "See which and why: alxreport monitor auto-sync",
                  acknowledged=True, number=9),
    )  # fmt: skip
    sync = auto_sync(
        (Card("Status", "Failed", "critical", "2 companies failed"),
         Card("Last Sync", "08:02", note="3 min ago"), Card("Next Sync", "09:02", note="in 57 min"),
         Card("Companies", "4 / 6", "critical", "2 failed"),
         Card("Records 24 h", "310", note="290 new, 19 changed, 1 gone"),
         Card("Errors 24 h", "18", "critical", "of 144 company syncs"),
         Card("Success 7 days", "94.6 %", "warning", "of 167 runs")),
        days(None, 24, 24, 24, 23, 24, 15), rows)  # fmt: skip
    speed = replace(
        good.views[1],
        cards=(Card("API calls 24 h", "18,204"), Card("Average response", "612 ms"),
               Card("p95 response", "5.41 s", "warning", "above 5 s"),
               Card("Success", "93.8 %", "critical", "below 95 %"),
               Card("Cache hits", "41.0 %", note="7,463 of 18,204"),
               Card("Records 24 h", "1,402,776", note="handed out")),
        chart=hours(slow))  # fmt: skip
    return Screen(AT, alerts, (sync, speed, good.views[2]))


def attacked():
    """Return the screen while somebody guesses tokens and a company reads without end."""
    good = healthy()
    errors = [texts(f"08:0{4 - place // 3}", f"203.0.113.{66 + place % 2}", "", "progress",
                    "authorisation") for place in range(9)]  # fmt: skip
    errors.append(texts("07:58", "powerbi-gateway (198.51.100.7)", "Acme Ltd", "progress",
                        "rate_limit"))  # fmt: skip
    alerts = (
        AlertLine("critical", "203.0.113.66 failed to authenticate 41 times within 10 minutes.",
                  "07:54 (11 min ago)", "See the log for what asked there; correct it, or block the"
                  " address in the firewall.", number=31),
        AlertLine("critical", "Acme Ltd used 100 of its 100 requests of today; 212 more were "
                  "refused.", "07:31 (34 min ago)",
                  "Allow more, or ask why it needs them: alxreport limit set id:1 N", number=30),
        AlertLine("warning", "Acme Ltd made 312 requests in the last hour; in seven days before "
                  "it made 40 in an hour at the most.", "just found",
                  "Ask whether it is theirs; else: alxreport token list --company id:1"),
    )  # fmt: skip
    guard = security(
        (Card("Active tokens", "14"), Card("Over the limit 24 h", "212", "warning", "refused"),
         Card("Failed log-ins 24 h", "1,048", "warning", "refused"),
         Card("Suspicious callers 24 h", "2", "critical", "see below")),
        (texts("Acme Ltd", "100 / 100", Cell("212", "warning"), "08:04"),),
        errors, (texts("authorisation", "1,048"), texts("rate_limit", "212")))  # fmt: skip
    return Screen(AT, alerts, (*good.views[:2], guard))


def crowded():
    """Return a site of 200 companies whose names are long, wide or run from right to left."""
    good = healthy()
    names = [NAMES[n] if n < len(NAMES) else f"{NAMES[n % len(NAMES)]} {n}" for n in range(200)]
    rows = [company(name, 70 + n * 613, failed=n < 14) for n, name in enumerate(names)]
    alerts = tuple(
        AlertLine("critical", f"The sync of {name} failed: Disk full.", "08:02 (3 min ago)",
                  f"Put right what it says, then run: alxreport sync --company id:{n + 1}",
                  acknowledged=n == 0, number=40 + n)
        for n, name in enumerate(names[:14])
    )  # fmt: skip
    sync = auto_sync(
        (Card("Status", "Failed", "critical", "14 companies failed"), *good.views[0].cards[1:3],
         Card("Companies", "186 / 200", "critical", "14 failed"), *good.views[0].cards[4:]),
        days(24, 24, 24, 24, 24, 24, 23), rows)  # fmt: skip
    consumers = [texts(name, f"{9_000 - n * 800:,}", f"{700_000 - n * 61_000:,}", "201 ms",
                       f"{30 - n * 3:.1f} %") for n, name in enumerate(NAMES[:9])]  # fmt: skip
    speed = performance(good.views[1].cards, good.views[1].chart, consumers,
                        good.views[1].tables[1].rows)  # fmt: skip
    return Screen(AT, alerts, (sync, speed, good.views[2]))


SCREENS = {
    "fresh": fresh, "healthy": healthy, "failing": failing, "attacked": attacked,
    "crowded": crowded,
}  # fmt: skip
