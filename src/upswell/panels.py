"""Every path that the page asks for, and the JSON that answers it: what the commands print, and what the views add.

Owns the table of paths, their parameters and the masking: without the token no answer holds a whole dial. It knows no
HTTP. An answer is kept for a moment, so that many lookers cost as much as one.
"""

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from upswell import campaign, flow, history, refused, sent, status
from upswell.errors import UsageError
from upswell.explain import explain
from upswell.health import health
from upswell.privacy import escape, mask, mask_digits, mask_line
from upswell.segment import parse_msisdn
from upswell.status import Status
from upswell.words import OUTCOME_WORDS, REASON_WORDS, STATE_WORDS
from upswell.zones import date_of

KEPT_S = 1.0  # an answer is given again for so long
_KEPT_MAX = 64
Json = dict[str, object]


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
    funnel = [stage._asdict() for stage in flow.funnel(found.summary.outcomes)]
    return found.to_json() | {"days": days, "words": words, "funnel": funnel}


def _minutes(asked: Question) -> Json:
    return flow.minutes(asked.look(), asked.day_or_newest())


def _files(asked: Question) -> Json:
    day = asked.day_or_newest()
    return {"day": day, "files": [row._asdict() for row in flow.files(asked.place.state_dir, day)]}


def _rejects(asked: Question) -> Json:
    day = asked.day_or_newest()
    wanted = refused.Wanted(day=day)
    return refused.count(asked.place.state_dir, wanted).to_json() | {
        "day": day,
        "samples": flow.samples(asked.place.state_dir, day, whole=asked.whole),
    }


def _sent(asked: Question) -> Json:
    return sent.to_json(asked.place.state_dir, sent.Wanted(day=asked.day))


def _campaign(asked: Question) -> Json:
    return campaign.campaign(asked.place.state_dir, asked.day)


def _near(asked: Question) -> Json:
    return campaign.near(asked.place.state_dir, whole=asked.whole)


def _history(asked: Question) -> Json:
    return history.look(asked.place.state_dir).to_json()


def _reports(asked: Question) -> Json:
    return campaign.reports(asked.place.reports)


def _health(asked: Question) -> Json:
    return health(asked.look())


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
"""What answers each path. ``day=20200417`` selects a day where that means something."""


class Panels:
    """Answers questions about one state. For many threads at once."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._kept: dict[tuple[str, int | None, bool], tuple[float, Json]] = {}
        self._locks: dict[str, threading.Lock] = {path: threading.Lock() for path in PANELS}
        self._explaining = threading.Lock()
        self._looking = threading.Lock()
        self._looked: tuple[float, Status] | None = None

    def look(self) -> Status:
        """The state's status as of a moment ago."""
        with self._looking:
            if self._looked is None or time.monotonic() - self._looked[0] > KEPT_S:
                found = status.look(self.place.state_dir, self.place.cadence_s)
                self._looked = (time.monotonic(), found)
            return self._looked[1]

    def answer(self, path: str, query: Mapping[str, str], *, whole: bool) -> Json:
        """The answer to a path of PANELS.

        Raises:
            UsageError: a parameter is off. Else as the command that prints it.
        """
        day = parse_day(query.get("day", ""))
        key = (path, day, whole)
        with self._locks[path]:  # whoever asks the same meanwhile takes what comes of it
            at_s, found = self._kept.get(key, (0.0, {}))
            if not found or time.monotonic() - at_s > KEPT_S:
                found = PANELS[path](Question(self.place, day, whole, self.look))
                if len(self._kept) >= _KEPT_MAX:
                    self._kept.clear()
                self._kept[key] = (time.monotonic(), found)
        return found

    def explain(self, asked: Mapping[str, object], *, whole: bool) -> Json:
        """The story of a customer, masked unless ``whole``. One at a time: it reads all files that are kept.

        Raises UsageError for a msisdn, application or day that is none, and while another is told; else as
        ``explain.explain``.
        """
        msisdn, about = str(asked.get("msisdn", "")).strip(), str(asked.get("about") or "").strip()
        day = parse_day(str(asked.get("day") or ""))
        # Whoever waited would hold one of the server's threads, which answer everybody.
        if not self._explaining.acquire(blocking=False):
            raise UsageError("another customer is being looked up", "ask again in a moment")
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
        raise UsageError(f"{mask_digits(repr(text))} is no day", "write it as 2020-04-17") from None
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
