"""What the made-up site is made of: its people, companies and courses, and their Moodle rows."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

DAY_SECONDS = 86_400
HOUR_SECONDS = 3600
LEARNER_ROLE = 5  # Moodle's student, the only role that it tracks by default
MANAGER_ROLE = 12  # IOMAD enrols its managers as non-editing course editors
COURSE_LEVEL, CATEGORY_LEVEL, SYSTEM_LEVEL = 50, 40, 10  # of Moodle's contexts

# First and last names that occur together, so that nobody is called Siobhán Nakamura by accident.
_LATIN = (
    "Ana Lucía Íñigo Begoña Álvaro Inés Martín Núria Joaquín Sofía Andrés Rocío Nicolás Belén"
    "/Ruiz García Muñoz Peña Núñez Ibáñez Ortega Domínguez Serrano Vázquez Castaño Güell",
    "Emma Liam Siobhán Callum Aoife Harriet Owen Ruth Niamh Edward Grace Rhys"
    "/Walsh O'Neill Hughes MacLeod Bennett Byrne Ashworth Pritchard Doyle Fletcher",
    "Zoë François Chloé Benoît Hélène Théo Maëlle Gaël Anaïs Loïc Océane Rémi"
    "/Lefèvre Moreau Garçon Dupré Bélanger Noël Châtelain Rousseau Girard Lemaître",
    "Jürgen Käthe Lukas Jörg Anneliese Björn Mareike Günther Svenja Matthias"
    "/Müller Weiß Schröder Krämer Böhm Vogel Jäger Schäfer Großmann Köhler",
    "Łukasz Małgorzata Paweł Zofia Grażyna Michał Agnieszka Wojciech Żaneta Kacper"
    "/Kowalczyk Dąbrowska Wiśniewski Zając Woźniak Król Jabłońska Pawłowski Sikora",
    "João Beatriz Tiago Inês Gonçalo Conceição Luís Mafalda Sebastião Fátima"
    "/Gonçalves Araújo Simões Magalhães Brandão Figueiró Leitão Falcão Assunção",
    "Øyvind Åsa Søren Freja Håkon Linnéa Jørgen Mårten Solveig Astrid"
    "/Bjørnstad Åkesson Østergaard Lindström Nørgaard Sjöberg Hägg Aasen Mørk",
    "Đorđe Jelena Šime Ondřej Eliška Zdeněk Tomáš Zsófia Bálint Ágnes"
    "/Kovačević Đurić Novák Dvořáková Šimić Horváth Szabó Černý Živković Nagy",
    "Thảo Đức Hương Minh Ayşe Çağrı İpek Emre Gülşen"
    "/Trần Lê Phạm Đặng Bùi Nguyễn Yılmaz Öztürk Şahin Çelik Doğan",
    "Chinwe Kwame Amara Thandiwe Sipho Zanele Adaeze Kofi Wanjiru Tendai"
    "/Okafor Mensah Dlamini Nkosi Adeyemi Mwangi Boateng Moyo Okonkwo Khumalo",
    "Priya Arjun Kavya Rohan Ishaan Meera Anjali Vikram Farah Imran"
    "/Nair Iyer Kulkarni Chaudhry Banerjee Reddy Siddiqui Deshmukh Menon Patil",
)
# First name, last name, and the login that a person with that name was given.
_OTHER = (
    "芳/王/wang.fang 伟/李/li.wei 陽菜/佐藤/sato.hina 蓮/鈴木/suzuki.ren 민준/김/kim.minjun "
    "서연/박/park.seoyeon محمد/العلي/mohammed.alali فاطمة/حسن/fatima.hassan "
    "ليلى/منصور/layla.mansour נועה/כהן/noa.cohen איתן/לוי/eitan.levi "
    "Ольга/Мельник/olha.melnyk Γιώργος/Νικολάου/giorgos.nikolaou อรทัย/ศรีสุข/orathai.srisuk"
)
# Letters that carry no combining mark, so that Unicode does not take them apart.
_PLAIN_LETTERS = str.maketrans("łŁøØđĐı", "lLoOdDi") | {ord("ß"): ord("s")}


def people(rng: Random, count: int) -> list[tuple[str, str, str]]:
    """Return ``count`` people as first name, last name and login, no login twice."""
    other = [tuple(person.split("/")) for person in _OTHER.split()][:count]
    found = {login: (first, last, login) for first, last, login in other}
    while len(found) < count:
        first, last = (rng.choice(part.split()) for part in rng.choice(_LATIN).split("/"))
        login = f"{_plain(first)}.{_plain(last)}"
        found.setdefault(login, (first, last, login))
    crowd = list(found.values())
    rng.shuffle(crowd)
    return crowd


def _plain(name: str) -> str:
    apart = unicodedata.normalize("NFKD", name.translate(_PLAIN_LETTERS)).lower()
    return "".join(c for c in apart if c.isascii() and c.isalnum())


@dataclass(frozen=True)
class DemoCompany:
    """A company, how many learn in it, and its departments."""

    shortname: str
    name: str
    learners: int
    departments: tuple[int, ...]
    suspended: int = 0


@dataclass(frozen=True)
class DemoCourse:
    """A course, its activities (``-`` = not tracked) and the companies that have it."""

    shortname: str
    fullname: str
    category: int
    activities: str = ""
    companies: str = ""
    visible: int = 1
    shared: int = 0
    enablecompletion: int = 1


COMPANIES = (
    DemoCompany("northwind", "Northwind Logistics", 62, (1,)),
    DemoCompany("santalucia", "Clínica Santa Lucía", 34, (3, 4)),
    DemoCompany("kestrel", "Kestrel & Sons", 8, (5,)),
    DemoCompany("aurora", "Aurora Hotels", 16, (6,), suspended=1),
)
_ALL = " ".join(company.shortname for company in COMPANIES)
_EXAMS = "page scorm scorm quiz page assign quiz"
COURSES = (
    DemoCourse("FIRE", "Fire Safety", 1, "page scorm page quiz feedback resource", _ALL),
    DemoCourse("GDPR", "Data Protection and GDPR", 1, f"{_EXAMS} page feedback", _ALL, shared=1),
    DemoCourse("LIFT", "Manual Handling", 1, "page scorm quiz chat -label", "northwind"),
    DemoCourse("FORK", "Forklift Operator Refresher", 2, _EXAMS, "northwind"),
    DemoCourse("IPC", "Infection Prevention & Control", 3, f"{_EXAMS} -url", "santalucia"),
    DemoCourse(
        "SERVICE", "Customer Service Essentials", 2, "scorm quiz page", "northwind kestrel aurora"
    ),
    DemoCourse("LEAD", "Leading a Team", 2, "page forum quiz", "northwind kestrel", visible=0),
    DemoCourse("HELLO", "Welcome Handbook", 2, "-page -url -resource", "santalucia kestrel aurora"),
    DemoCourse(
        "CYBER", "Cyber Security Awareness", 1, "page scorm quiz", "northwind santalucia", shared=2
    ),
)
_SITE_COURSE = DemoCourse("demo", "Demo Academy", 0, enablecompletion=0)
_CATEGORIES = (("Compliance", 0), ("Skills", 0), ("Healthcare", 1))  # name, number of the parent
# Ids as on a Moodle 4.1 site. Chat is switched off, so its activities count nowhere.
_MODULES = {"assign": 1, "chat": 5, "feedback": 8, "forum": 10, "label": 15}
_MODULES |= {"page": 18, "quiz": 19, "resource": 20, "scorm": 21, "url": 24}
# The rows of mdl_config that reports depend on; a random siteidentifier comes on top.
_CONFIG = {
    "version": "2022112822",
    "release": "4.1.22 (Build: 20251208)",
    "enablecompletion": "1",
    "siteguest": "1",
    "siteadmins": "2",
    "defaultuserroleid": "7",
    "timezone": "Europe/Madrid",
}


@dataclass
class CourseRows:
    """What an enrolment needs to know of its course."""

    id: int
    context: int
    methods: dict[str, int] = field(default_factory=dict)  # enrol.id by name
    tracked: list[tuple[int, bool]] = field(default_factory=list)  # activity, is it graded


@dataclass
class SiteRows:
    """New rows, numbered as an auto-increment would, until they are written at once."""

    rng: Random
    now: int
    last: dict[str, int] = field(default_factory=dict)
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    courses: dict[str, CourseRows] = field(default_factory=dict)

    def add(self, table: str, **values: Any) -> int:
        """Add a row and return its id, by default the next one."""
        number = int(values.pop("id", self.last.get(table, 0) + 1))
        self.last[table] = number
        self.rows.setdefault(table, []).append({"id": number, **values})
        return number

    def ago(self, low: float, high: float) -> int:
        """Return a moment between ``low`` and ``high`` days before now."""
        return self.now - round(self.rng.uniform(low, high) * DAY_SECONDS)


def add_catalogue(site: SiteRows) -> None:
    """Add everything but the people: settings, categories, companies and courses."""
    identifier = f"{site.rng.getrandbits(128):032x}demo.moodle.example"
    for name, value in (_CONFIG | {"siteidentifier": identifier}).items():
        site.add("config", name=name, value=value)
    for name, number in _MODULES.items():
        site.add("modules", id=number, name=name, visible=int(name != "chat"))
    paths = {0: _add_context(site, SYSTEM_LEVEL, 0, "")}
    capability = {"capability": "moodle/course:isincompletionreports", "permission": 1}
    site.add("role_capabilities", contextid=1, roleid=LEARNER_ROLE, **capability)
    for number, (name, parent) in enumerate(_CATEGORIES, 1):
        path = f"/{parent}/{number}" if parent else f"/{number}"
        site.add("course_categories", name=name, parent=parent, path=path)
        paths[number] = _add_context(site, CATEGORY_LEVEL, number, paths[parent])
    for company in COMPANIES:
        site.add("company", **{k: vars(company)[k] for k in ("name", "shortname", "suspended")})
    for spec in (_SITE_COURSE, *COURSES):
        columns = ("category", "fullname", "shortname", "visible", "enablecompletion")
        row = {column: vars(spec)[column] for column in columns}
        course = site.add("course", **row, timemodified=site.ago(30, 700))
        _add_context(site, COURSE_LEVEL, course, paths[spec.category])
        if spec is not _SITE_COURSE:
            _add_course_parts(site, spec, CourseRows(course, site.last["context"]))


def _add_context(site: SiteRows, level: int, instance: int, above: str) -> str:
    path = f"{above}/{site.last.get('context', 0) + 1}"
    depth = path.count("/")
    site.add("context", contextlevel=level, instanceid=instance, path=path, depth=depth)
    return path


def _add_course_parts(site: SiteRows, spec: DemoCourse, course: CourseRows) -> None:
    site.courses[spec.shortname] = course
    for number, activity in enumerate(spec.activities.split(), 1):
        module = activity.removeprefix("-")
        graded = module in {"quiz", "assign"}
        # The last activity of GDPR is hidden; Moodle counts it like any other.
        kind = {"module": _MODULES[module], "visible": int((spec.shortname, number) != ("GDPR", 9))}
        completion = 0 if activity.startswith("-") else 1 + graded
        cm = site.add(
            "course_modules", course=course.id, instance=number, completion=completion, **kind
        )
        if completion:
            course.tracked.append((cm, graded))
    for method in ("manual", "self"):
        # Self-enrolment was closed on one course: who came by it counts no longer.
        status = int((spec.shortname, method) == ("LIFT", "self"))
        row = {"enrol": method, "status": status, "timemodified": site.ago(300, 700)}
        course.methods[method] = site.add("enrol", courseid=course.id, **row)
    site.add("iomad_courses", courseid=course.id, shared=spec.shared)
    for number, company in enumerate(COMPANIES, 1):
        where = {"companyid": number, "courseid": course.id}
        if company.shortname in spec.companies.split() and spec.shared == 2:
            site.add("company_shared_courses", **where)
        elif company.shortname in spec.companies.split() and not spec.shared:
            site.add("company_course", **where, departmentid=company.departments[0])


def add_user(site: SiteRows, first: str, last: str, login: str, at: str, **flags: int) -> int:
    """Add a user with an address ``at`` that domain and return the id."""
    row = {"username": login, "firstname": first, "lastname": last, "email": f"{login}@{at}"}
    row_flags = {"deleted": 0, "suspended": 0, "timemodified": site.ago(20, 400)} | flags
    return site.add("user", **row, **row_flags)


def add_people(site: SiteRows) -> Iterator[tuple[int, list[str]]]:
    """Add everybody, a manager before each company's learners; yield learner and courses."""
    for first, last, login in (("Guest user", " ", "guest"), ("Admin", "User", "admin")):
        add_user(site, first, last, login, "demo.example")
    crowd = iter(people(site.rng, sum(c.learners + 1 for c in COMPANIES)))
    for number, company in enumerate(COMPANIES, 1):
        offered = [c.shortname for c in COURSES if company.shortname in c.companies.split()]
        for place in range(company.learners + 1):
            # Moodle suspends everybody of a suspended company and moves no timestamp.
            at, suspended = f"{company.shortname}.example", company.suspended
            user = add_user(site, *next(crowd), at, suspended=suspended)
            department = company.departments[place % len(company.departments)]
            join(site, user, number, department, managertype=int(place == 0))
            if place:
                yield user, offered
                continue
            for course in offered:
                enrol(site, user, course, site.ago(200, 400), role=MANAGER_ROLE)


def join(site: SiteRows, user: int, company: int, department: int, managertype: int = 0) -> None:
    """Make the user a member of the company's department."""
    row = {"managertype": managertype, "departmentid": department, "suspended": 0}
    site.add("company_users", companyid=company, userid=user, **row)


def enrol(
    site: SiteRows,
    user: int,
    course: str,
    start: int,
    *,
    method: str = "manual",
    role: int = LEARNER_ROLE,
    **columns: int,
) -> None:
    """Enrol the user; ``role`` 0 gives none, ``columns`` overrides those of the enrolment."""
    target = site.courses[course]
    row = {"status": 0, "timestart": start, "timeend": 0, "timecreated": start, **columns}
    row["timemodified"] = row["timecreated"]
    site.add("user_enrolments", enrolid=target.methods[method], userid=user, **row)
    if role:
        where = {"roleid": role, "contextid": target.context}
        site.add("role_assignments", userid=user, timemodified=row["timecreated"], **where)


def add_learning(site: SiteRows, user: int, offered: list[str], number: int) -> None:
    """Enrol one learner in some of the company's courses and let the time since then pass."""
    rng = site.rng
    for course in rng.sample(offered, rng.randint(2, min(5, len(offered)))):
        start, chance = site.ago(6, 240), rng.random()
        ended = (start + site.now) // 2 if chance < 0.05 else 0
        enrol(site, user, course, start, timeend=ended, status=int(chance > 0.96))
        if rng.random() < 0.08:  # a second way in, which is still one row of a report
            enrol(site, user, course, site.ago(1, 5), method="self", role=0)
        # Every ninth learner never opened anything.
        share = 0.0 if number % 9 == 4 else rng.choice((0.0, 0.3, 0.5, 0.8, 1.0, 1.0))
        study(site, user, course, start, share)


def study(site: SiteRows, user: int, course: str, start: int, share: float) -> None:
    """Do that share of the course's activities, in order, between ``start`` and now."""
    rng, tracked = site.rng, site.courses[course].tracked
    done = tracked[: round(share * len(tracked))]
    latest = min(start + 45 * DAY_SECONDS, site.now - HOUR_SECONDS)
    moments = sorted(rng.randint(start, latest) for _ in done)
    states = [rng.choice((2, 2, 2, 2, 3)) if graded else 1 for _, graded in done]
    for (cm, _), state, when in zip(done, states, moments, strict=True):
        # Now and then somebody unticks an activity; its row stays, with state 0.
        shown = 0 if share < 1 and state == 1 and rng.random() < 0.1 else state
        add_state(site, user, cm, shown, when)
    finished = moments[-1] + 60 if share == 1 and moments and 3 not in states else None
    if done or rng.random() < 0.5:  # Moodle's cron notes some people before they begin
        started = moments[0] if moments else 0
        add_completion(site, user, course, start, started=started, completed=finished)


def add_state(site: SiteRows, user: int, cm: int, state: int, when: int) -> None:
    """Note the state of one activity for one user."""
    row = {"completionstate": state, "timemodified": when}
    site.add("course_modules_completion", coursemoduleid=cm, userid=user, **row)


def add_completion(
    site: SiteRows, user: int, course: str, enrolled: int, *, started: int, completed: int | None
) -> None:
    """Note that the user began the course and, unless ``completed`` is None, finished it."""
    row = {"timeenrolled": enrolled, "timestarted": started, "timecompleted": completed}
    site.add("course_completions", userid=user, course=site.courses[course].id, **row)
