"""The texts for Power BI's way over OData: its query, and what the guide says of it."""

from __future__ import annotations

from string import Template

ODATA = Template("""\
// Learner progress of the company with id $id, from alxreport's OData feed. Power BI asks for page
// after page by itself, and hands on what you filter.
// Credentials: Basic, user name alxreport, password: the token. Never write the token in here.
let
    Columns = {$columns},
    Types = {
$types
    },
    Feed = OData.Feed(
        // The address has to stand here as one constant text: a scheduled refresh refuses an
        // address that is put together while the query runs. It names the company: with the token
        // of another one alxreport answers 403 and no rows.
        $url,
        null,
        [Implementation = "2.0", ODataVersion = 4]
    ),
    Progress = Feed{[Name = "Progress", Signature = "table"]}[Data],
    Offered = Table.ColumnNames(Progress),
    // The same once more, where the company's number is among the columns.
    Own =
        if List.Contains(Offered, "companyid")
        then Table.SelectRows(Progress, each [companyid] = $id)
        else Progress,
    // Filters that keep the load small have their place here:
    //     Kept = Table.SelectRows(Own, each [status] <> "not_started"),
    // with Kept instead of Own in the line Selected.
    Shown = List.Select(Columns, each List.Contains(Offered, _)),
    Selected = Table.SelectColumns(Own, Shown),
    // A column that was hidden since comes as empty, so that the report does not break. Else
    // nothing is converted: the feed has types, and the steps that you add can be handed on.
    Hidden = List.Difference(Columns, Shown),
    Typed =
        if List.IsEmpty(Hidden)
        then Selected
        else
            Table.TransformColumnTypes(
                Table.SelectColumns(Selected, Columns, MissingField.UseNull),
                List.Select(Types, each List.Contains(Hidden, _{0})),
                "en-US"
            )
in
    Typed
""")
PATH = "/odata/v4/"

CONNECT = Template("""\
5. For OData and HTTP, Power BI asks how to connect. Choose **Basic**, not *Anonymous*: user name
   `alxreport`, password: the token. The address is
   `$url$path` for OData and
   `$url` for `progress-from-api.pq`.
   Apply it to the longest address in the list. If Power BI asks for a privacy level, choose
   **Organizational**.""")

INCREMENT = """\
The feed can be asked by ranges of
`created_at`, which finds new rows only. Up to a million rows you need none of it; beyond that ask
whoever runs alxreport for `docs/power-bi.md` first."""
