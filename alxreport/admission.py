"""The way in to a company's rows: credential, company, limit; and on the way out, the log.

Every face asks through ``admitted``, so that none can skip a step.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import tzinfo

from alxreport import (
    company_settings,
    credentials,
    rate_limit,
    reporting_table,
    request_log,
    tokens,
)
from alxreport.companies import find_company
from alxreport.company_options import CompanyOptions, company_options
from alxreport.errors import (
    NeverSyncedError,
    NotAuthorisedError,
    NotFoundError,
    RateLimitError,
    StoreError,
    UsageError,
)
from alxreport.marks import Delta
from alxreport.question import DISABLED, Asked, Basis, Plan, Question, requests_disabled
from alxreport.rate_limit import Budget
from alxreport.records import iso_time
from alxreport.reporting_table import Standing
from alxreport.request_trace import error_word, trace
from alxreport.sessions import Session, Store
from alxreport.settings import Settings
from alxreport.tokens import Token

# Makes the question; what is wrong with it is told only to who may ask.
Ask = Callable[[], Asked]


@dataclass(frozen=True)
class Caller:
    """Who asks, how, and for what company if he says so."""

    endpoint: str
    ip: str = ""
    agent: str = ""
    token: str | None = field(default=None, repr=False)  # None: the local operator
    company: str | None = None


@dataclass
class Visit:
    """A request that was let in, and what it leaves for the log."""

    company: Standing
    options: CompanyOptions
    token: Token | None
    plan: Plan
    key: bytes  # of this store's marks
    budget: Budget | None  # None for the local operator, who is not limited
    series_began: int
    rows: int = 0
    cache: str = ""
    closing: list[Callable[[Session], object]] = field(default_factory=list)
    keeping: list[Callable[[Session], object]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@contextmanager
def admitted(
    store: Store, settings: Settings, caller: Caller, ask: Ask, now: int, *,
    prepare: Callable[[], object] | None = None,
) -> Iterator[Visit]:  # fmt: skip
    """Let a request in and log it when the block ends, however it ends.

    ``prepare`` is what takes long about the question: it is done once the credential is known to be
    good, and before the transaction that takes the request from the budget.

    What the block appends to ``closing`` is done in the transaction of the log, what it appends to
    ``keeping`` after it and only as far as it succeeds. Raises
    NotAuthorisedError, NotFoundError, NeverSyncedError, UsageError, RateLimitError or StoreError.
    """
    started = time.perf_counter()
    way_in = _WayIn(store, settings, caller, ask, now)
    visit: Visit | None = None
    try:
        if prepare is not None:
            if caller.token is not None:
                way_in.recognise()
            prepare()
        visit = way_in.enter()
        yield visit
        way_in.leave(visit, started)
    except BaseException as error:
        way_in.fail(visit, error, started)
        raise


@dataclass(frozen=True)
class Known:
    """Whose credential it is; for answers that hold no rows and cost nothing."""

    company: Standing
    options: CompanyOptions
    token: Token
    budget: Budget


@contextmanager
def recognised(store: Store, settings: Settings, caller: Caller, now: int) -> Iterator[Known]:
    """Let the bearer of a token ask about his company, and log it when the block ends.

    Raises NotAuthorisedError, NeverSyncedError or StoreError.
    """
    started = time.perf_counter()
    way_in = _WayIn(store, settings, caller, Question, now)
    try:
        known = way_in.recognise()
        yield known
        entry = way_in.entry(None, started, "")
        store.write_later(lambda session: request_log.write(session, entry))
    except BaseException as error:
        way_in.fail(None, error, started)
        raise


@dataclass
class _WayIn:
    """One request on its way: what it is, and how far it came."""

    store: Store
    settings: Settings
    caller: Caller
    ask: Ask
    now: int
    question: Asked = field(default_factory=Question)
    token: Token | None = None
    company: Standing | None = None
    left: bool = False  # the request was logged
    tries: int = 0  # of the transaction that takes it from the budget
    mark: str = field(default_factory=lambda: secrets.token_hex(16))  # of its receipt

    def enter(self) -> Visit:
        """Take the steps up to the limit; all in one transaction, which a refusal undoes."""
        day = rate_limit.zone(self.settings.requests.timezone)
        if self.caller.token is None:
            return self.store.read(lambda session: self._steps(session, day))
        credentials.check_form(self.caller.token)
        return self.store.write(lambda session: self._steps(session, day))

    def recognise(self) -> Known:
        """Take the steps that need no question."""
        secret = self.caller.token or ""
        credentials.check_form(secret)

        def work(session: Session) -> Known:
            self.token = token = self._credential(session, secret)
            self.company = company = self._synced(self._company_of(session, token))
            own = company_settings.own_settings(session, company=company.id)
            options = company_options(self.settings, own)
            if options.sync_mode == DISABLED:
                raise requests_disabled()
            where = rate_limit.zone(self.settings.requests.timezone)
            day = rate_limit.day_of(self.now, where)
            usage = rate_limit.usage(session, company=company.id, day=day)
            budget = Budget(options.rate_limit, *usage, rate_limit.next_day(self.now, where))
            return Known(company, options, token, budget)

        return self.store.read(work)

    def _steps(self, session: Session, day: tzinfo) -> Visit:
        now = self.now
        self.tries += 1
        if self.caller.token is not None:
            self.token = token = self._credential(session, self.caller.token)
            self.company = company = self._company_of(session, token)
        else:
            self.company = company = self._named_company(session)
        synced_at = self._synced(company).synced_at or 0
        own = company_settings.own_settings(session, company=company.id)
        options = company_options(self.settings, own)
        key = reporting_table.mark_key(session)
        basis = Basis(
            company.id, company.revision,
            reporting_table.mark_of(session, company=company.id, revision=company.revision) or "",
            company.purged_revision, company.rows, synced_at, options, key,
            self.settings.sync.tombstone_days, self.token is None, now,
        )  # fmt: skip

        def mark_fits(delta: Delta) -> bool:
            mark = reporting_table.mark_of(session, company=company.id, revision=delta.revision)
            return mark == delta.mark

        self.question = self.ask()
        plan = self.question.plan(basis, mark_fits)
        budget, began = None, now
        if self.token is not None:
            budget, began = self._pay(session, self.token, options, plan, day)
            tokens.touch(session, self.token, self.caller.ip, now)
        return Visit(company, options, self.token, plan, key, budget, began)

    def _credential(self, session: Session, secret: str) -> Token:
        self.token = token = credentials.find(session, secret)  # told in the log, good or not
        credentials.check(token, self.caller.ip, self.now)
        return token

    def _company_of(self, session: Session, token: Token) -> Standing:
        """Return the token's company, whatever company the caller names."""
        company = reporting_table.standing(session, company=token.companyid)
        if company is None or company.gone:
            raise NotAuthorisedError("The company of this token is gone.", reason="gone")
        if self.caller.company is not None:
            try:
                find_company([company], self.caller.company)
            except (NotFoundError, UsageError) as error:
                # The same words whether there is such a company or not.
                raise NotAuthorisedError(
                    f"This token is not for the company {self.caller.company[:50]!r}.",
                    "Leave --company out: the token says which one it is.",
                    reason="company",
                ) from error
        return company

    def _synced(self, company: Standing) -> Standing:
        if company.synced_at is None:
            raise NeverSyncedError(
                f"The company {company.shortname!r} was never synced.",
                "Run 'alxreport sync' and look at its errors.",
            )
        return company

    def _named_company(self, session: Session) -> Standing:
        if self.caller.company is None:
            raise UsageError(
                "No company was named.", "Add --company C, or give a token with --token-file F."
            )
        known = reporting_table.standings(session)
        if not known:
            raise NeverSyncedError("No company was ever synced.", "Run 'alxreport sync' first.")
        return find_company(known, self.caller.company)

    def _pay(
        self, session: Session, token: Token, options: CompanyOptions, plan: Plan, where: tzinfo
    ) -> tuple[Budget, int]:
        """Take the request from the budget, or use the promise that its series made."""
        company, now = token.companyid, self.now
        day = rate_limit.day_of(now, where)
        resets_at = rate_limit.next_day(now, where)
        began: int | None = None
        if self.tries > 1:  # the transaction before may have succeeded, and nobody heard of it
            began = rate_limit.receipt(session, self.mark, company=company, token=token.id)
        known = began is not None
        if plan.cursor is not None and not known:
            began = rate_limit.redeem(
                session,
                rate_limit.promise_mark(plan.cursor),
                company=company,
                token=token.id,
                now=now,
            )
        paid = began is not None or rate_limit.spend(
            session, company=company, day=day, limit=options.rate_limit, now=now
        )
        used, refused = rate_limit.usage(session, company=company, day=day)
        if not paid:
            raise RateLimitError(
                f"The company's {options.rate_limit} requests of today are used up.",
                f"The next day begins at {iso_time(resets_at)}; the administrator can allow more:"
                " alxreport limit set C N",
                limit=options.rate_limit,
                resets_at=resets_at,
            )
        began = now if began is None else began
        if self.store.may_lose_an_end and not known:
            rate_limit.keep_receipt(
                session, self.mark, company=company, token=token.id, started_at=began
            )
        return Budget(options.rate_limit, used, refused, resets_at), began

    def leave(self, visit: Visit, started: float) -> None:
        """Log a request that was answered, with what else is to be kept of it."""

        entries: list[request_log.Entry] = []

        def work(session: Session) -> None:
            if entries and request_log.is_written(session, entries[0]):
                return  # nobody heard that the transaction before succeeded
            for close in visit.closing:
                close(session)
            entries[:] = entries or [self.entry(visit, started, "")]
            request_log.write(session, entries[0])

        try:
            # A promise has to be kept before the answer can be used; the log can follow.
            (self.store.write if visit.closing else self.store.write_later)(work)
        except StoreError as error:
            # Nobody else's request is answered without its trace; the operator, who may have to
            # look into a store whose disk is full, is told instead.
            if visit.token is not None:
                raise
            visit.warnings.append(f"This request was not logged: {error.message}")
        self.left = True
        for keep in visit.keeping:
            with suppress(StoreError):
                self.store.write(keep, attempts=1)

    def fail(self, visit: Visit | None, error: BaseException, started: float) -> None:
        """Log a request that failed; a fault in doing so must not hide the first one."""
        if self.left or isinstance(error, GeneratorExit):
            return
        entry = self.entry(visit, started, error_word(error))
        with suppress(Exception):
            zone = self.settings.requests.timezone
            self.store.write_later(lambda session: trace(session, entry, error, zone))

    def entry(self, visit: Visit | None, started: float, error: str) -> request_log.Entry:
        """Return what the log says of the request, as far as it came."""
        question, plan = self.question, visit.plan if visit else None
        paged = plan is not None and not question.everything
        return request_log.Entry(
            at=self.now,
            ip=self.caller.ip,
            agent=self.caller.agent,
            endpoint=self.caller.endpoint,
            company=self.company.id if self.company else self.token.companyid if self.token else 0,
            token=self.token.id if self.token else 0,
            mode=plan.mode if plan else "",
            limit=plan.limit if plan and paged else question.limit,
            offset=(None if plan.cursor else plan.offset) if plan and paged else question.offset,
            rows=visit.rows if visit else 0,
            duration_us=round((time.perf_counter() - started) * 1_000_000),
            cache=visit.cache if visit else "",
            error=error,
            question=plan.question_key[:32] if plan else "",
            revision=self.company.revision if self.company else 0,
            cache_minutes=visit.options.cache_minutes if visit else 0,
        )
