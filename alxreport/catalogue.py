"""A Moodle site's companies and courses, with the rules that do not depend on the learner."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from alxreport.records import SiteData

# Moodle's access library: lib/accesslib.php, CAP_* and CONTEXT_* constants.
ALLOW = 1
PROHIBIT = -1000
CONTEXT_SYSTEM, CONTEXT_CATEGORY, CONTEXT_COURSE = 10, 40, 50
TRACKED_CAPABILITY = "moodle/course:isincompletionreports"

SHARED_WITH_ALL = 1
SHARED_WITH_LISTED = 2


@dataclass(frozen=True)
class RoleRule:
    """Which role assignments make Moodle track a learner in a course (moodle.md 2.5, rule c)."""

    contexts: tuple[int, ...] = ()  # the course's context path, from the system down
    allow: frozenset[int] = frozenset()  # roles whose deepest permission on the path is ALLOW
    prohibit: frozenset[int] = frozenset()  # roles with a PROHIBIT anywhere on the path


@dataclass(frozen=True)
class Course:
    """One course with what it adds to every learner's row."""

    id: int
    fullname: str
    visible: bool
    completion: bool  # completion is on, for the course and for the site
    activities: frozenset[int]  # ids of the course modules that Moodle tracks
    methods: tuple[tuple[int, int], ...]  # enrolment methods: id, status
    roles: RoleRule


@dataclass(frozen=True)
class Company:
    """One company with the courses that its rows may be about."""

    id: int
    shortname: str
    name: str
    suspended: bool
    assigned: frozenset[int]  # courses that belong to it: its own, and those shared with it
    courses: frozenset[int]  # of these, the visible ones that are not switched off for it
    untracked_too: bool = False


@dataclass(frozen=True)
class Catalogue:
    """Everything about a site that is small enough to be held in memory."""

    companies: Mapping[int, Company]
    courses: Mapping[int, Course]
    activity_course: Mapping[int, int]  # tracked course module -> course
    admins: frozenset[int]
    guest: int
    default_role: int
    sharing: Mapping[int, int]  # course -> iomad_courses.shared, where not 0
    listed: Mapping[int, frozenset[int]] = field(default_factory=dict)  # company -> its own courses

    @property
    def relevant_roles(self) -> frozenset[int]:
        """The roles whose assignments can decide whether somebody is tracked."""
        found: set[int] = set()
        for course in self.courses.values():
            found |= course.roles.allow | course.roles.prohibit
        return frozenset(found)


def build_catalogue(
    site: SiteData,
    *,
    switched_off: Collection[tuple[int, int]] = frozenset(),
    untracked_too: Collection[int] | bool = False,
) -> Catalogue:
    """Work out companies, courses and tracking rules from a site's small tables.

    ``switched_off`` holds (company, course) pairs that an administrator took out of the reports,
    ``untracked_too`` the companies whose rows include people that Moodle does not track, or True
    for all of them.
    """
    site_completion = _number(site.config.get("enablecompletion"), default=0) != 0
    activities: defaultdict[int, set[int]] = defaultdict(set)
    for courseid, module in site.activities:
        activities[courseid].add(module)
    methods: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for courseid, method, status in site.methods:
        methods[courseid].append((method, status))
    paths = _course_paths(site)
    rules = _role_rules(site, paths)
    courses = {
        courseid: Course(
            id=courseid,
            fullname=(fullname or "").replace("\0", ""),  # PostgreSQL stores no NUL
            visible=bool(visible),
            completion=site_completion and bool(completion),
            activities=frozenset(activities[courseid]),
            methods=tuple(sorted(methods[courseid])),
            roles=rules[paths[courseid]],
        )
        for courseid, _category, fullname, visible, completion in site.courses
    }
    admins = frozenset(_numbers(site.config.get("siteadmins")))
    return Catalogue(
        companies=_companies(site, courses, switched_off, untracked_too),
        courses=courses,
        activity_course={
            module: courseid
            for courseid, modules in activities.items()
            if courseid in courses
            for module in modules
        },
        admins=admins,
        guest=_number(site.config.get("siteguest"), default=0),
        default_role=_number(site.config.get("defaultuserroleid"), default=0),
        sharing={courseid: shared for courseid, shared in sorted(site.sharing) if shared},
        listed=_grouped(site.company_courses),
    )


def _grouped(pairs: Iterable[tuple[int, int]]) -> dict[int, frozenset[int]]:
    found: defaultdict[int, set[int]] = defaultdict(set)
    for key, value in pairs:
        found[key].add(value)
    return {key: frozenset(values) for key, values in found.items()}


def _companies(
    site: SiteData,
    courses: Mapping[int, Course],
    switched_off: Collection[tuple[int, int]],
    untracked_too: Collection[int] | bool,
) -> dict[int, Company]:
    own = _grouped(site.company_courses)
    listed = _grouped(site.shared_with)
    for_all = {course for course, shared in site.sharing if shared == SHARED_WITH_ALL}
    for_some = {course for course, shared in site.sharing if shared == SHARED_WITH_LISTED}
    front_page = min((row[0] for row in site.courses if row[1] == 0), default=None)
    shown = frozenset(c.id for c in courses.values() if c.visible) - {front_page}
    off = _grouped(switched_off)
    nothing: frozenset[int] = frozenset()

    def assigned(company: int) -> frozenset[int]:
        shared = for_all | (for_some & listed.get(company, nothing))
        return frozenset(own.get(company, nothing) | shared)

    return {
        companyid: Company(
            id=companyid,
            shortname=shortname or "",
            name=name or "",
            suspended=bool(suspended),
            assigned=assigned(companyid),
            courses=(assigned(companyid) & shown) - off.get(companyid, nothing),
            untracked_too=untracked_too
            if isinstance(untracked_too, bool)
            else companyid in untracked_too,
        )
        for companyid, shortname, name, suspended in site.companies
    }


def _course_paths(site: SiteData) -> dict[int, tuple[int, ...]]:
    """Return each course's context path as context ids, the system first.

    Moodle makes a missing context when it first needs it, below that of the category (lib/
    accesslib.php, context_course::instance). A context that is there without a path lets nobody
    through but administrators (has_capability): its path is empty here.
    """
    paths = {(level, instance): _path_ids(path or "") for _, level, instance, path in site.contexts}
    parents = dict(site.categories)
    system = paths.get((CONTEXT_SYSTEM, 0), ())

    def inherited(category: int, below: frozenset[int] = frozenset()) -> tuple[int, ...]:
        if (CONTEXT_CATEGORY, category) in paths:
            return paths[CONTEXT_CATEGORY, category]
        parent = parents.get(category)
        if parent is None or parent in below:
            return system
        return inherited(parent, below | {category})

    return {
        courseid: paths[CONTEXT_COURSE, courseid]
        if (CONTEXT_COURSE, courseid) in paths
        else inherited(category)
        for courseid, category, *_rest in site.courses
    }


def _path_ids(path: str) -> tuple[int, ...]:
    return tuple(_numbers(path.replace("/", ",")))


def _role_rules(
    site: SiteData, paths: Mapping[int, tuple[int, ...]]
) -> dict[tuple[int, ...], RoleRule]:
    """Return the rule of each context path (lib/accesslib.php, has_capability_in_accessdata)."""
    permissions: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for context, role, permission in site.capabilities:
        permissions[context].append((role, permission))
    rules: dict[tuple[int, ...], RoleRule] = {}
    for path in set(paths.values()):
        deepest: dict[int, int] = {}
        prohibited: set[int] = set()
        for context in path:  # from the system down, so that a deeper row replaces a higher one
            for role, permission in permissions.get(context, ()):
                if permission == PROHIBIT:
                    prohibited.add(role)
                deepest[role] = permission
        allowed = {role for role, permission in deepest.items() if permission == ALLOW}
        rules[path] = RoleRule(path, frozenset(allowed), frozenset(prohibited))
    return rules


def _number(text: str | None, *, default: int) -> int:
    numbers = _numbers(text)
    return numbers[0] if numbers else default


def _numbers(text: str | None) -> list[int]:
    parts = (part.strip() for part in (text or "").split(","))
    return [int(part) for part in parts if part.isascii() and part.isdecimal()]
