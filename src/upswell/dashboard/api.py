"""The JSON of each path of the page: what the commands print, and what the views need beyond that.

Owns the table of paths, their parameters and the masking: without the token, no answer holds a full msisdn. It knows
nothing of HTTP. Answers are cached, the longer the more they took to make, so that many visitors cost as much as one
and a large state costs little more processor time than a small one. Only a few requests wait for an answer that is
being made, since each of them holds one of the server's threads.
"""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from upswell.audit import history, rejects, sent, status
from upswell.audit.history import Bounds
from upswell.audit.labels import OUTCOME_WORDS, REASON_WORDS, STATE_WORDS
from upswell.audit.replay.explain import explain
from upswell.audit.status import Status
from upswell.dashboard import campaign, flow
from upswell.dashboard.health import health
from upswell.errors import UsageError
from upswell.zones import date_of

CACHED_S = 1.0  # an answer is used again for this long
CACHED_SHARE = 20  # or for this many times as long as it took to make
CACHED_MAX_S = 10.0  # but no longer: visitors expect news
_STALE_MAX_S = 5 * CACHED_MAX_S  # while a new one is made; then waiting beats an outdated answer
_SIZES_SHARE = 200  # sizes need a stat of each reject file, and grow slowly
WAITING_MAX = 16  # requests that wait for an answer: less than half of the server's threads
_CACHED_MAX = 64
_HISTORY = Bounds(
    edits=50, batches=100_000
)  # about 100 ms for each kind, however many edits there are
Json = dict[str, object]
_Answer = TypeVar("_Answer")


class Busy(UsageError):
    """Too many requests for answers that take long to make."""


class Target(NamedTuple):
    """The state and the reports that the page shows."""

    state_dir: Path
    cadence_s: int | None = None
    """Seconds between expected files; None: the cadence of the run."""
    reports: Path | None = None
    """The directory of the reports of ``whatif``; None: they are not shown."""


class Query(NamedTuple):
    """One request to a panel."""

    target: Target
    day: int | None
    unmasked: bool
    """Show msisdns in full."""
    status: Callable[[], Status]
    """Returns the status of the state, cached because several panels need it at once."""
    sizes: Callable[[], dict[str, int]]
    """Returns the bytes of the state by purpose, cached."""

    def day_or_newest(self) -> int:
        """Return the requested day, or the newest one with files. Raises UsageError if there are no files."""
        if self.day is not None:
            return self.day
        every = flow.days(self.target.state_dir)
        if not every:
            raise UsageError("no file has arrived yet", "start a run, and deliver a file")
        return every[0]


def _status(query: Query) -> Json:
    found = query.status()
    days = flow.days(query.target.state_dir)
    words = {"outcomes": OUTCOME_WORDS, "rejects": REASON_WORDS, "files": STATE_WORDS}
    return found.to_json() | {"days": days, "words": words}


def _minutes(query: Query) -> Json:
    return flow.minutes(query.status(), query.day_or_newest())


def _files(query: Query) -> Json:
    day = query.day_or_newest()
    return {"day": day, "files": [row._asdict() for row in flow.files(query.target.state_dir, day)]}


def _rejects(query: Query) -> Json:
    day = query.day_or_newest()
    wanted = rejects.RejectFilter(day=day)
    return rejects.count(query.target.state_dir, wanted).to_json() | {
        "day": day,
        "samples": flow.samples(query.target.state_dir, day, unmasked=query.unmasked),
    }


def _sent(query: Query) -> Json:
    return sent.to_json(query.target.state_dir, sent.SentFilter(day=query.day))


def _campaign(query: Query) -> Json:
    return campaign.campaign(query.target.state_dir, query.day)


def _near(query: Query) -> Json:
    return campaign.near(query.target.state_dir, unmasked=query.unmasked)


def _history(query: Query) -> Json:
    return history.read_history(query.target.state_dir, _HISTORY).to_json()


def _reports(query: Query) -> Json:
    return campaign.reports(query.target.reports)


def _health(query: Query) -> Json:
    return health(query.status(), query.sizes())


PANELS: dict[str, Callable[[Query], Json]] = {
    "/api/status": _status,
    "/api/minutes": _minutes,
    "/api/files": _files,
    "/api/rejects": _rejects,
    "/api/sent": _sent,
    "/api/campaign": _campaign,
    "/api/near": _near,
    "/api/history": _history,
    "/api/reports": _reports,
    "/api/health": _health,
}
"""The panel of each path."""
_OF_A_DAY = {"/api/minutes", "/api/files", "/api/rejects", "/api/sent", "/api/campaign"}
"""The paths that take a parameter such as ``day=20200417``."""


class _Cached(Generic[_Answer]):
    """One answer, made by one thread at a time and cached for a while."""

    def __init__(
        self,
        make: Callable[[], _Answer],
        lock: threading.Lock,
        share: int = CACHED_SHARE,
        cached_max_s: float = CACHED_MAX_S,
    ) -> None:
        """``lock``: held while the answer is made; expensive answers share one.

        ``share``: cache the answer for this many times as long as it took to make, at most ``cached_max_s``.
        """
        self._make = make
        self._lock = lock
        self._share = share
        self._cached_max_s = cached_max_s
        self._answer: _Answer | None = None
        self._until = 0.0

    def get(self, waiting: threading.Semaphore) -> _Answer:
        """Return the answer, or the previous one while a new one is made, unless that is outdated.

        ``waiting``: limits how many may wait for an answer. Raises Busy if too many do, and as ``make`` does.
        """
        if not self._lock.acquire(blocking=False):
            last = self._answer
            if last is not None and time.monotonic() < self._until + _STALE_MAX_S:
                return last
            if not waiting.acquire(blocking=False):
                raise Busy("too many requests at once", "try again in a moment")
            try:
                self._lock.acquire()
            finally:
                waiting.release()
        try:
            began = time.monotonic()
            if self._answer is None or began >= self._until:
                try:
                    self._answer = self._make()
                except Busy:
                    raise  # nothing was learned about the state
                except BaseException:
                    self._answer = None  # after an error, no previous answer may be used
                    raise
                ended = time.monotonic()
                cached_s = max(CACHED_S, self._share * (ended - began))
                self._until = ended + min(cached_s, self._cached_max_s)
            return self._answer
        finally:
            self._lock.release()


class Panels:
    """Answers requests about one state. Safe for many threads at once."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._cached: OrderedDict[tuple[str, int | None, bool], _Cached[Json]] = OrderedDict()
        self._caching = threading.Lock()
        self._making = {path: threading.Lock() for path in PANELS}
        self._waiting = threading.BoundedSemaphore(WAITING_MAX)
        self._explaining = threading.Lock()
        read = partial(status.read_status, target.state_dir, target.cadence_s)
        self._status = _Cached(read, threading.Lock())
        sizes = partial(status.sizes, target.state_dir)
        self._sizes = _Cached(sizes, threading.Lock(), _SIZES_SHARE, math.inf)

    def status(self) -> Status:
        """Return the status of the state, as of a moment ago."""
        return self._status.get(self._waiting)

    def answer(self, path: str, parameters: Mapping[str, str], *, unmasked: bool) -> Json:
        """Return the answer to a path of PANELS.

        Raises:
            UsageError: a parameter is invalid, or too many requests wait (Busy).
            UpswellError: as the command that prints the same.
        """
        day = parse_day(parameters.get("day", ""))
        key = (path, day if path in _OF_A_DAY else None, unmasked)
        with self._caching:
            if key not in self._cached:
                if len(self._cached) >= _CACHED_MAX:
                    self._cached.popitem(last=False)
                self._cached[key] = _Cached(partial(self._make, *key), self._making[path])
            cached = self._cached[key]
        return cached.get(self._waiting)

    def _make(self, path: str, day: int | None, unmasked: bool) -> Json:
        sizes = partial(self._sizes.get, self._waiting)
        return PANELS[path](Query(self.target, day, unmasked, self.status, sizes))

    def explain(self, asked: Mapping[str, object]) -> Json:
        """Return the explanation for a customer, unmasked. One at a time: it reads all kept files.

        Raises UsageError for an invalid msisdn, application or day, Busy while another customer is looked up, and as
        ``explain.explain`` does.
        """
        msisdn, about = str(asked.get("msisdn", "")).strip(), str(asked.get("about") or "").strip()
        day = parse_day(str(asked.get("day") or ""))
        # Waiting would hold one of the server's threads, which serve everybody.
        if not self._explaining.acquire(blocking=False):
            raise Busy("another customer is being looked up", "try again in a moment")
        try:
            return explain(self.target.state_dir, msisdn, about=about or None, day=day).to_json()
        finally:
            self._explaining.release()


def parse_day(text: str) -> int | None:
    """Return the day in a parameter, or None if it is empty. Raises UsageError if it is not a day."""
    digits = text.replace("-", "")
    if not digits:
        return None
    try:
        if len(digits) != 8 or not (digits.isascii() and digits.isdigit()):
            raise ValueError(text)
        date_of(int(digits))
    except ValueError:
        # The value is left out: it may be an msisdn in the wrong place.
        raise UsageError("not a day of the calendar", "write it as 2020-04-17") from None
    return int(digits)
