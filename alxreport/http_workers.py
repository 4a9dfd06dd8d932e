"""Several workers on one listener: started, replaced, renewed, and stopped without a loss."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import FrameType

from alxreport.errors import AlxError, ConfigError
from alxreport.http_log import say, tell
from alxreport.settings import Settings

# Answers the listener's calls until a SIGTERM; calls the function once it does so.
Serve = Callable[[Settings, socket.socket, Callable[[], None]], None]
START_SECONDS = 60.0
# A worker that ends at once is started again, but not at once.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
# What a stop takes at the longest: clients that stall, and the log.
STOP_SECONDS = 60.0
STOPS = (signal.SIGTERM, signal.SIGINT)
_spawn = get_context("spawn")
multiprocessing.allow_connection_pickling()


@dataclass
class _Worker:
    process: SpawnProcess
    said: Connection  # readable once it answers calls, or has ended
    ready: bool = False

    def stop(self) -> None:
        if self.process.is_alive():
            self.process.terminate()


class Workers:
    """Processes that share a listener, and the one that looks after them."""

    def __init__(
        self, count: int, listener: socket.socket, settings: Settings, serve: Serve,
        load: Callable[[], Settings],
    ) -> None:  # fmt: skip
        self._count, self._listener, self._settings = count, listener, settings
        self._serve, self._load = serve, load
        self._workers: list[_Worker] = []
        self._leaving: list[_Worker] = []
        self._signals: list[int] = []
        self._wake: socket.socket | None = None
        self._failures = 0
        self._next_start = 0.0
        self._served = False  # a worker was ready at some time

    def run(self) -> int:
        """Keep the workers until a SIGTERM or SIGINT, then stop them; return which it was.

        A SIGHUP reads the settings again and renews the workers one after the other. Raises
        ConfigError if none of the first workers comes to answer.
        """
        with self._hearing():
            try:
                while not (stop := self._told_to_stop()):
                    self._fill()
                    if signal.SIGHUP in self._signals:
                        self._signals = [n for n in self._signals if n != signal.SIGHUP]
                        self._renew()
                    self._wait(1.0)
                    self._look()
            finally:
                self._stop()
        return stop

    @contextmanager
    def _hearing(self) -> Iterator[None]:
        heard, wake = socket.socketpair()
        for end in (heard, wake):
            end.setblocking(False)
        self._wake = heard
        numbers = (*STOPS, signal.SIGHUP)
        before = {number: signal.signal(number, self._hear) for number in numbers}
        descriptor = signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(descriptor)
            for number, handler in before.items():
                signal.signal(number, handler)
            heard.close()
            wake.close()

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        self._signals.append(number)

    def _told_to_stop(self) -> int:
        return next((number for number in self._signals if number in STOPS), 0)

    def _start(self) -> _Worker:
        said, saying = _spawn.Pipe(duplex=False)
        arguments = (self._serve, self._settings, self._listener, saying)
        process = _spawn.Process(target=_work, args=arguments, name="alxreport serve")
        process.start()
        saying.close()
        return _Worker(process, said)

    def _fill(self) -> None:
        """Start the workers that are missing, unless the last ones ended at once."""
        while len(self._workers) < self._count and time.monotonic() >= self._next_start:
            self._workers.append(self._start())

    def _wait(self, seconds: float) -> None:
        """Wait until something happens to a worker, or a signal comes."""
        handles: list[Connection | socket.socket | int] = [
            worker.process.sentinel for worker in (*self._workers, *self._leaving)
        ]
        handles += [worker.said for worker in self._workers if not worker.ready]
        if self._wake is not None:
            handles.append(self._wake)
            connection.wait(handles, seconds)
            with suppress(BlockingIOError):
                self._wake.recv(4096)

    def _look(self) -> None:
        """Notice who is ready, and who has ended."""
        if self._told_to_stop():
            return  # systemd and a terminal tell everybody at once: who ends now was told to
        for worker in self._workers:
            self._hear_of(worker)
        for worker in [each for each in self._workers if not each.process.is_alive()]:
            self._workers.remove(worker)
            self._mourn(worker)
        for worker in [each for each in self._leaving if not each.process.is_alive()]:
            self._leaving.remove(worker)
            _close(worker)

    def _hear_of(self, worker: _Worker) -> None:
        with suppress(EOFError, OSError):
            if not worker.ready and worker.said.poll():
                worker.said.recv_bytes()
                worker.ready = self._served = True
                self._failures = 0

    def _mourn(self, worker: _Worker) -> None:
        code = worker.process.exitcode
        _close(worker)
        if not worker.ready:
            self._failures += 1
        if not self._served and self._failures >= self._count:
            raise ConfigError("No worker can be started.", "See the lines above.")
        pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(self._failures, 10))
        self._next_start = time.monotonic() + (pause if self._failures else 0.0)
        tell(f"a worker ended by itself (code {code}); another one takes its place")

    def _renew(self) -> None:
        """Let workers with the settings as they are now take the place of the others."""
        try:
            self._settings = self._load()
        except AlxError as error:
            say(f"alxreport: the workers keep their settings: {error.message} {error.hint}")
            return
        for old in list(self._workers):
            new = self._start()
            until = time.monotonic() + START_SECONDS
            while not new.ready and new.process.is_alive() and time.monotonic() < until:
                if self._told_to_stop():
                    break
                connection.wait([new.said, new.process.sentinel], 0.1)
                self._hear_of(new)
            if not new.ready:
                new.process.kill()
                self._leaving.append(new)
                say("alxreport: the workers were not renewed: the first new one did not start")
                return
            if old in self._workers:
                self._workers.remove(old)
            self._workers.append(new)
            old.stop()
            self._leaving.append(old)
        say("alxreport: the workers were renewed")

    def _stop(self) -> None:
        # Whoever calls from now on is refused; what the system took in already is the workers'.
        self._listener.listen(0)
        self._listener.close()
        everybody = [*self._workers, *self._leaving]
        for worker in everybody:
            worker.stop()
        until = time.monotonic() + STOP_SECONDS
        for worker in everybody:
            worker.process.join(max(0.0, until - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            _close(worker)


def _close(worker: _Worker) -> None:
    worker.said.close()
    worker.process.close()


def _work(serve: Serve, settings: Settings, listener: socket.socket, saying: Connection) -> None:
    """Be a worker: answer calls until told to stop, or until nobody looks after the workers."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()

    def ready() -> None:
        with suppress(OSError):
            saying.send_bytes(b"ready")

    try:
        serve(settings, listener, ready)
    except KeyboardInterrupt:
        return  # pressed by who sees the parent end
    except AlxError as error:
        say(f"alxreport: {error.message} {error.hint}")
        raise SystemExit(error.exit_code) from None


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
