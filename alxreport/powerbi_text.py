"""The texts that the Power BI files are made of, with places to fill in."""

from __future__ import annotations

from string import Template

API = Template("""\
// Learner progress of the company with id $id, read page by page from alxreport.
// Credentials: Basic, user name alxreport, password: the token. Never write the token in here.
let
    Company = $company,
    Columns = {$columns},
    Problem = (status as number, body as binary) as record =>
        let
            Told = try Text.From(Json.Document(body)[#"error"][#"message"]) otherwise null,
            Advice =
                if status = 429 then "The company's budget of requests for today is used up. "
                    & "Wait until it starts anew, or ask for a higher limit."
                else if status = 404 then "alxreport was not found at this address. "
                    & "Ask which address it has and write this query anew."
                else if status = 410 then "The place in the list is no longer valid. "
                    & "Refresh again."
                else "alxreport did not accept the request. Has the company's max_limit become "
                    & "smaller? Write this query anew with 'alxreport powerbi'."
        in
            Error.Record(
                "alxreport",
                (if Told = null then "" else Told & " ") & Advice,
                [Status = status]
            ),
    GetPage = (position as nullable text) as record =>
        let
            // The address has to stand here as one constant text: a scheduled refresh refuses an
            // address that is put together while the query runs. What changes goes into Query.
            Response = Web.Contents(
                $url,
                [
                    RelativePath = "api/v1/progress",
                    Query =
                        if position = null
                        then [mode = "full", limit = "$limit"]
                        else [mode = "full", limit = "$limit", cursor = position],
                    // Not 401 and 403: they make Power BI ask for the token. Not 503: Power BI
                    // tries again by itself.
                    ManualStatusHandling = {400, 404, 410, 429}
                ]
            ),
            Body = Binary.Buffer(Response),
            Status = Value.Metadata(Response)[Response.Status],
            Page = if Status = 200 then Json.Document(Body) else error Problem(Status, Body)
        in
            // The address names the company, so that another one's token is refused; this is
            // looked at once more here.
            if Page[company][id] = $id then
                Page
            else
                error Error.Record(
                    "alxreport",
                    "The stored token belongs to another company, not to " & Company
                        & ". Enter this company's token in the data source settings."
                ),
    Pages = List.Generate(
        () => GetPage(null),
        each _ <> null,
        each if [next] = null then null else GetPage([next]),
        each [data]
    ),
    Records = List.Transform(
        List.Combine(Pages),
        each Record.SelectFields(_, Columns, MissingField.UseNull)
    ),
    Rows = Table.FromRecords(Records, Columns),
    Typed = Table.TransformColumnTypes(
        Rows,
        {
$types
        },
        "en-US"
    )
in
    Typed
""")

FILE_HEAD = Template("""\
// Learner progress of the company with id $id, from a file that alxreport wrote:
//     alxreport export --company id:$id --format $form --output progress.$form
let
    FilePath = "C:\\alxreport\\progress.$form",
    Source = File.Contents(FilePath),
    // A scheduled refresh of a file on a disk needs a gateway; one of a file in the cloud needs
    // none. For that, put one of these in the place of the line above, with your own address.
    // SharePoint, OneDrive for Business:
    //     Source = ${buffer}Web.Contents(
    //         "https://contoso.sharepoint.com/sites/Learning/Shared%20Documents/progress.$form"
    //     )$end,
    // the same, found by its name in a site:
    //     Source = ${buffer}SharePoint.Files(
    //         "https://contoso.sharepoint.com/sites/Learning", [ApiVersion = 15]
    //     ){[
    //         Name = "progress.$form",
    //         #"Folder Path" = "https://contoso.sharepoint.com/sites/Learning/Shared Documents/"
    //     ]}[Content]$end,
    // Azure Blob Storage:
    //     Source = AzureStorage.BlobContents(
    //         "https://ACCOUNT.blob.core.windows.net/CONTAINER/progress.$form"
    //     ),
    Columns = {$columns},
""")

CSV_BODY = Template("""\
    Texts = {$texts},
    Others = {$others},
    // 'alxreport export' puts an apostrophe in front of a text that a spreadsheet would run as a
    // formula. This takes exactly that one away again.
    Unguard = (value as nullable text) as nullable text =>
        if value <> null
            and Text.Start(value, 1) = "'"
            and List.Contains({$starts}, Text.Middle(value, 1, 1))
        then Text.Middle(value, 1)
        else value,
    Document = Csv.Document(
        Source,
        [Delimiter = ",", Encoding = 65001, QuoteStyle = QuoteStyle.Csv]
    ),
    Promoted = Table.PromoteHeaders(Document, [PromoteAllScalars = true]),
$check
    Blanks = Table.ReplaceValue(Selected, "", null, Replacer.ReplaceValue, Others),
    Unguarded = Table.TransformColumns(Blanks, List.Transform(Texts, each {_, Unguard})),
    Typed = Table.TransformColumnTypes(
        Unguarded,
        {
$types
        },
        "en-US"
    )
in
    Typed
""")

JSON_BODY = Template("""\
    Records = List.Transform(
        Json.Document(Source),
        each Record.SelectFields(_, Columns, MissingField.UseNull)
    ),
    Rows = Table.FromRecords(Records, Columns),
    Typed = Table.TransformColumnTypes(
        Rows,
        {
$types
        },
        "en-US"
    )
in
    Typed
""")

PARQUET_BODY = Template("""\
    Times = {$times},
    // A time without a zone is UTC here. Left alone, Power BI would take it for the local time of
    // the machine that refreshes.
    Utc = (value as any) as any =>
        if value is datetimezone then DateTimeZone.ToUtc(value)
        else if value is datetime then DateTime.AddZone(value, 0)
        else value,
    Promoted = Parquet.Document(Source),
$check
    Zoned = Table.TransformColumns(Selected, List.Transform(Times, each {_, Utc})),
    Typed = Table.TransformColumnTypes(
        Zoned,
        {
$types
        },
        "en-US"
    )
in
    Typed
""")

CHECK = Template("""\
    // A column that alxreport hides is filled with null; a file without these is another file.
    Checked =
        if List.ContainsAll(Table.ColumnNames(Promoted), {$required})
        then Promoted
        else error Error.Record("alxreport", "This file was not written by 'alxreport export'."),
    Selected = Table.SelectColumns(Checked, Columns, MissingField.UseNull),""")

HOW_TO = Template("""\
# $name in Power BI

Files for one company (id $id). Use one of them:

$files

## Load it in Power BI Desktop

1. **Home > Get data > Blank query**.
2. **Home > Advanced editor**. Delete what is there and paste the whole file.
$prepare
4. **Done**. Call the query `Progress`.
$connect
6. **Close & apply**.
$service
## Columns

One row is one learner in one course. `userid` and `courseid` together are unique.

| column | meaning |
|---|---|
$meanings

All times are UTC. Power BI drops the zone when it loads them. If the hour matters, compare a value
with its `_unix` twin once, in Desktop and after a scheduled refresh.

## Model and measures

$model

```dax
$dax
```

## Incremental refresh

Leave it off, unless a load takes too long. It keeps old date ranges and asks only for new ones, but
a learner's row changes in place: progress grows, people leave. Without it each refresh loads all
rows; that is what makes leavers disappear. $increment
""")

MODEL_TABLES = """\
`Learners` and `Courses` are tables (**Modeling > New table**), the others are measures. Connect
`Learners[userid]` with `Progress[userid]` and `Courses[courseid]` with `Progress[courseid]`, one to
many. Make such tables in DAX, not as further queries in Power Query: each query that loads is read
from the source anew."""
MODEL_MEASURES = "These are measures (**Modeling > New measure**)."

PREPARE = {
    True: "3. For a file: change the path in the line `FilePath`. For OData and HTTP: nothing.",
    False: "3. Change the path in the line `FilePath`.",
}

CONNECT_FILE = "5. If Power BI asks for a privacy level, choose **Organizational**."

SERVICE_API = """
## Refresh it on a schedule

1. **Publish** to a workspace.
2. In the service, open the semantic model's **Settings > Data source credentials > Edit
   credentials**: Basic, user name `alxreport`, password: the token, privacy level Organizational.
3. **Scheduled refresh**: up to 8 times a day with Power BI Pro, 48 with Premium. alxreport syncs
   once an hour; more often brings nothing new.

The service needs no gateway if it can reach the address from the internet. A file on a disk needs
one.

A company has a budget of requests a day (100 unless changed). One load is one request, however many
pages it has; the feed's description costs nothing. Power BI Desktop runs a query more than once for
previews and loads, so working on the report there costs a few requests each time.

## When a refresh fails

- **401, 403, or Power BI asks for credentials again**: the token is wrong, expired, revoked, of
  another company, or not allowed from the caller's address. Enter a valid one, as in step 2 above.
- **"The stored token belongs to another company"**: Power BI keeps one token for an address. Enter
  this company's token. The OData query has no such words; it says 403.
- **429, the budget is used up**: wait for the next day, refresh less often, or ask for a higher
  limit. A refused request costs nothing.
- **503**: alxreport has not synced this company yet, or the server is not running. Ask whoever runs
  it, then refresh. Power BI tries a few times by itself before it says so.
- **400, 404, 410, 501**: the message says what to do.

After four failures in a row, or one of the credentials, the service switches the schedule off.
Switch it on again once the cause is gone.
"""

SERVICE_FILE = Template("""
## Refresh it on a schedule

A file on a disk needs an on-premises data gateway on a machine that can read it. A file in
SharePoint, OneDrive for Business or Azure Blob Storage needs none; the lines for them stand in the
queries as comments. The service refreshes up to 8 times a day with Power BI Pro, 48 with Premium.

Without files, over HTTP: ask for `alxreport powerbi --company id:$id --url https://...`
""")

INCREMENT_FILE = "A file holds every row and no history."

# Tables and measures, each with the columns that it needs.
TABLES = "userid firstname lastname courseid coursename"
DAX = (
    (TABLES, """
Learners =
ADDCOLUMNS(
    DISTINCT(Progress[userid]),
    "learner", CALCULATE(MAX(Progress[firstname])) & " " & CALCULATE(MAX(Progress[lastname]))
)"""),
    (TABLES, """
Courses =
ADDCOLUMNS(DISTINCT(Progress[courseid]), "course", CALCULATE(MAX(Progress[coursename])))"""),
    ("", "Course places = COUNTROWS(Progress)"),
    ("userid", "Number of learners = DISTINCTCOUNT(Progress[userid])"),
    ("percentage", "Average progress = AVERAGE(Progress[percentage])"),
    ("status", """
Completed = CALCULATE(COUNTROWS(Progress), KEEPFILTERS(Progress[status] = "completed"))"""),
    ("status", "Completion rate = DIVIDE([Completed], [Course places])"),
    ("status", """
Learner status =
VAR Places = [Course places]
VAR Untouched = CALCULATE(COUNTROWS(Progress), KEEPFILTERS(Progress[status] = "not_started"))
RETURN
    SWITCH(
        TRUE(),
        ISBLANK(Places), BLANK(),
        [Completed] = Places, "completed",
        Untouched = Places, "not started",
        "in progress"
    )"""),
)  # fmt: skip
