"""Every path that the page asks for, and the JSON that answers it: what the commands print, and what the views add.

Owns the table of paths, their parameters and the masking: without the token no answer holds a whole dial. It knows no
HTTP. An answer is kept for a moment, the longer the more it took to make: many lookers cost as much as one, and those
of an old state take little more of a processor than those of a young one. Few wait for one that is being made, since
whoever waits holds one of the server's threads.
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
from upswell.privacy import escape, mask, mask_line
from upswell.reference.segment import parse_msisdn
from upswell.zones import date_of

KEPT_S = 1.0  # an answer is given again for so long
KEPT_SHARE = 20  # or for so many times as long as it took
KEPT_MAX_S = 10.0  # but no longer: somebody waits for what is new
_OVERDUE_MAX_S = 5 * KEPT_MAX_S  # while another is made: better wait than be told of long ago
_SIZES_SHARE = 200  # each file of rejects is looked at for them, and they grow slowly
WAITING_MAX = 16  # for answers that are being made: less than half of the server's threads
_KEPT_MAX = 64
_HISTORY = Bounds(edits=50, batches=100_000)  # some 100 ms for each kind, however many edits
Json = dict[str, object]
_Answer = TypeVar("_Answer")


class Busy(UsageError):
    """Too many ask for the same, and it takes its time."""


class Place(NamedTuple):
    """What is looked at."""

    state_dir: Path
    cadence_s: int | None = None
    """None: that of the run."""
    reports: Path | None = None
    """Where reports of ``whatif`` are."""


class Question(NamedTuple):
    """One question to a panel."""

    place: Place
    day: int | None
    whole: bool
    """Whether dials are shown whole."""
    look: Callable[[], Status]
    """The state's status, which several panels ask for at once."""
    sizes: Callable[[], dict[str, int]]
    """Bytes of the state by what they are for."""

    def day_or_newest(self) -> int:
        """The day that was asked for, or the newest that has files. Raises UsageError when there is none."""
        if self.day is not None:
            return self.day
        every = flow.days(self.place.state_dir)
        if not every:
            raise UsageError("no file has come yet", "start a run, and deliver a file")
        return every[0]


def _status(asked: Question) -> Json:
    found = asked.look()
    days = flow.days(asked.place.state_dir)
    words = {"outcomes": OUTCOME_WORDS, "rejects": REASON_WORDS, "files": STATE_WORDS}
    return found.to_json() | {"days": days, "words": words}


def _minutes(asked: Question) -> Json:
    return flow.minutes(asked.look(), asked.day_or_newest())


def _files(asked: Question) -> Json:
    day = asked.day_or_newest()
    return {"day": day, "files": [row._asdict() for row in flow.files(asked.place.state_dir, day)]}


def _rejects(asked: Question) -> Json:
    day = asked.day_or_newest()
    wanted = rejects.RejectFilter(day=day)
    return rejects.count(asked.place.state_dir, wanted).to_json() | {
        "day": day,
        "samples": flow.samples(asked.place.state_dir, day, whole=asked.whole),
    }


def _sent(asked: Question) -> Json:
    return sent.to_json(asked.place.state_dir, sent.SentFilter(day=asked.day))


def _campaign(asked: Question) -> Json:
    return campaign.campaign(asked.place.state_dir, asked.day)


def _near(asked: Question) -> Json:
    return campaign.near(asked.place.state_dir, whole=asked.whole)


def _history(asked: Question) -> Json:
    return history.look(asked.place.state_dir, _HISTORY).to_json()


def _reports(asked: Question) -> Json:
    return campaign.reports(asked.place.reports)


def _health(asked: Question) -> Json:
    return health(asked.look(), asked.sizes())


PANELS: dict[str, Callable[[Question], Json]] = {
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
"""What answers each path."""
_OF_A_DAY = {"/api/minutes", "/api/files", "/api/rejects", "/api/sent", "/api/campaign"}
"""Those of which ``day=20200417`` selects a day."""


class _Kept(Generic[_Answer]):
    """One answer, made by one thread at a time, and given again for a while."""

    def __init__(
        self,
        make: Callable[[], _Answer],
        lock: threading.Lock,
        share: int = KEPT_SHARE,
        kept_max_s: float = KEPT_MAX_S,
    ) -> None:
        """``lock``: held while it is made; answers that are dear share one."""
        self._make = make
        self._lock = lock
        self._share = share
        self._kept_max_s = kept_max_s
        self._answer: _Answer | None = None
        self._until = 0.0

    def get(self, waiting: threading.Semaphore) -> _Answer:
        """The answer; while another is made the last one, unless that is of long ago.

        ``waiting``: how many may wait, when there is none.

        Raises Busy when too many do; else as ``make``.
        """
        if not self._lock.acquire(blocking=False):
            last = self._answer
            if last is not None and time.monotonic() < self._until + _OVERDUE_MAX_S:
                return last
            if not waiting.acquire(blocking=False):
                raise Busy("too many ask for this at once", "ask again in a moment")
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
                    raise  # nothing was found out
                except BaseException:
                    self._answer = None  # an error leaves no answer of before
                    raise
                ended = time.monotonic()
                kept_s = max(KEPT_S, self._share * (ended - began))
                self._until = ended + min(kept_s, self._kept_max_s)
            return self._answer
        finally:
            self._lock.release()


class Panels:
    """Answers questions about one state. For many threads at once."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._kept: OrderedDict[tuple[str, int | None, bool], _Kept[Json]] = OrderedDict()
        self._keeping = threading.Lock()
        self._making = {path: threading.Lock() for path in PANELS}
        self._waiting = threading.BoundedSemaphore(WAITING_MAX)
        self._explaining = threading.Lock()
        look = partial(status.read_status, place.state_dir, place.cadence_s)
        self._status = _Kept(look, threading.Lock())
        sizes = partial(status.sizes, place.state_dir)
        self._sizes = _Kept(sizes, threading.Lock(), _SIZES_SHARE, math.inf)

    def look(self) -> Status:
        """The state's status as of a moment ago."""
        return self._status.get(self._waiting)

    def answer(self, path: str, query: Mapping[str, str], *, whole: bool) -> Json:
        """The answer to a path of PANELS.

        Raises:
            UsageError: a parameter is off, or too many wait (Busy). Else as the command that prints it.
        """
        day = parse_day(query.get("day", ""))
        key = (path, day if path in _OF_A_DAY else None, whole)
        with self._keeping:
            if key not in self._kept:
                if len(self._kept) >= _KEPT_MAX:
                    self._kept.popitem(last=False)
                self._kept[key] = _Kept(partial(self._make, *key), self._making[path])
            kept = self._kept[key]
        return kept.get(self._waiting)

    def _make(self, path: str, day: int | None, whole: bool) -> Json:
        sizes = partial(self._sizes.get, self._waiting)
        return PANELS[path](Question(self.place, day, whole, self.look, sizes))

    def explain(self, asked: Mapping[str, object], *, whole: bool) -> Json:
        """The story of a customer, masked unless ``whole``. One at a time: it reads all files that are kept.

        Raises UsageError for a msisdn, application or day that is none, Busy while another is told; else as
        ``explain.explain``.
        """
        msisdn, about = str(asked.get("msisdn", "")).strip(), str(asked.get("about") or "").strip()
        day = parse_day(str(asked.get("day") or ""))
        # Whoever waited would hold one of the server's threads, which answer everybody.
        if not self._explaining.acquire(blocking=False):
            raise Busy("another customer is being looked up", "ask again in a moment")
        try:
            found = explain(self.place.state_dir, msisdn, about=about or None, day=day).to_json()
        finally:
            self._explaining.release()
        return found if whole else _masked(found, msisdn)


def parse_day(text: str) -> int | None:
    """The day of a parameter; None when there is none. Raises UsageError."""
    digits = text.replace("-", "")
    if not digits:
        return None
    try:
        if len(digits) != 8 or not (digits.isascii() and digits.isdigit()):
            raise ValueError(text)
        date_of(int(digits))
    except ValueError:
        # Not what was given: a dial that was put in its place would be shown.
        raise UsageError("that is no day of the calendar", "write it as 2020-04-17") from None
    return int(digits)


def _masked(found: Json, msisdn: str) -> Json:
    """A story without the dial: whoever looks over a shoulder must not read it."""
    digits = parse_msisdn(msisdn.encode("utf-8", "replace")) or ""

    def hide(value: object) -> object:
        if isinstance(value, dict):
            return {
                key: mask_line(str(each).encode("utf-8", "replace")) if key == "raw" else hide(each)
                for key, each in value.items()
            }
        if isinstance(value, list):
            return [hide(each) for each in value]
        return escape(value.replace(digits, mask(digits))) if isinstance(value, str) else value

    masked = hide(found)
    assert isinstance(masked, dict)
    return masked
