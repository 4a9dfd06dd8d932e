"""A store that writes its log in groups, so that no request waits for the disk alone."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass

from alxreport.errors import StoreError
from alxreport.sessions import Session, Store, Work
from alxreport.settings import StoreSettings

# What waits so long at the most shares one transaction; also the most that a crash can lose.
GROUP_SECONDS = 0.02
LARGEST_GROUP = 200
# More waiting than this means that the store does not keep up: who comes next waits for it.
MOST_WAITING = 5_000
RETRY_SECONDS = 0.5
CLOSE_SECONDS = 20.0
# So often one piece of work may fail, while others succeed, before it is given up.
TRIES = 3


@dataclass
class _Waiting:
    work: Work[None]
    failed: int = 0
    succeeded_before: int = 0  # other pieces, when it failed for the first time


class GroupStore(Store):
    """A store whose ``write_later`` returns at once; one thread commits what came together.

    While the store cannot be written, ``write_later`` writes at once, as ``write``, so that who
    asks meets the failure himself; what waited before is tried again until it succeeds.
    """

    def __init__(self, settings: StoreSettings) -> None:
        super().__init__(settings)
        self._queue: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._ending = self._in_trouble = False
        self._succeeded = 0
        self.given_up = 0  # pieces of work that the store refused for what they were
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write_later(self, work: Work[None]) -> None:
        """Do ``work`` in a transaction with others, within moments.

        Raises what ``write`` raises where the store is in trouble.
        """
        with self._changed:
            waits = not (self._ending or self._in_trouble or len(self._queue) >= MOST_WAITING)
            if waits:
                self._queue.append(_Waiting(work))
                if len(self._queue) == 1:
                    self._changed.notify_all()
        if not waits:
            self.write(work)
            self._succeeded += 1

    def flush(self, seconds: float = CLOSE_SECONDS) -> bool:
        """Wait until nothing waits any more; return whether that came about in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._queue, seconds)

    def close(self) -> None:
        """Write what waits, end the thread, and close every connection."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        self._thread.join(CLOSE_SECONDS)
        super().close()

    def _run(self) -> None:
        ended_at: float | None = None
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._ending)
                if not self._queue:
                    return
                if self._ending and ended_at is None:
                    ended_at = time.monotonic()
                # A moment for others to come; none when there is nothing more to wait for.
                self._changed.wait_for(lambda: self._ending, GROUP_SECONDS)
                group = [self._queue[n] for n in range(min(LARGEST_GROUP, len(self._queue)))]
            left = self._write(group)
            with self._changed:
                for _ in group:
                    self._queue.popleft()
                self._queue.extendleft(reversed(left))
                self._in_trouble = len(left) == len(group)
                self._changed.notify_all()
                if self._in_trouble:
                    if ended_at is not None and time.monotonic() - ended_at > CLOSE_SECONDS:
                        return
                    self._changed.wait_for(lambda: self._ending, RETRY_SECONDS)

    def _write(self, group: list[_Waiting]) -> list[_Waiting]:
        """Commit a group, else its parts one by one; return what has to be tried again."""

        def together(session: Session) -> None:
            for waiting in group:
                waiting.work(session)

        try:
            self.write(together)
        except Exception as error:
            if isinstance(error, StoreError) and (error.fatal or error.transient):
                return group
        else:
            self._succeeded += len(group)
            return []
        failed = [waiting for waiting in group if not self._alone(waiting)]
        left = [waiting for waiting in failed if not self._is_hopeless(waiting)]
        self.given_up += len(failed) - len(left)
        return left

    def _alone(self, waiting: _Waiting) -> bool:
        try:
            self.write(waiting.work)
        except Exception:
            if not waiting.failed:
                waiting.succeeded_before = self._succeeded
            waiting.failed += 1
            return False
        self._succeeded += 1
        return True

    def _is_hopeless(self, waiting: _Waiting) -> bool:
        """Tell whether it is the piece that fails, and not the store."""
        return waiting.failed >= TRIES and self._succeeded > waiting.succeeded_before
