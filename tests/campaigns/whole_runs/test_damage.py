"""A whole run's state, damaged anywhere: the restart says so, or its output is that of an undamaged one."""

import random
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from support import strace
from support.command import PROFILE
from support.faults.campaign import KILL, Consumer
from support.faults.damage import damage
from support.faults.ending import end
from support.faults.workloads import Run
from support.inputs import write
from support.trust import Trust
from upswell.errors import UpswellError
from upswell.state.maintenance.verify import verify
from upswell.state.reader import StateReader
from upswell.state.rows import Totals

RUN = Run("damaged", lines=0, now={})
"""Over the files that are written here."""
DIALS = [f"01000000{index:02}" for index in range(12)]
RULES = "1,Twitter,8,20,147\n2,WhatsApp,9,24,268\n3,Night,22,6,200\n"
TOLD = (74, 78)
"""Exit codes that damage may end in."""
DATABASE, LOG = "checkpoint.db", "checkpoint.db-wal"
KINDS = {
    "closed": ("", [DATABASE]),
    "committing": ("REJECTS_", [DATABASE, LOG, LOG]),
    "publishing": ('Twitter>, "NOTIFY_', [DATABASE, LOG, LOG]),
}
"""States by where their run ended: before the last such call, or by itself; and the files that are damaged."""


def traffic(place: Path, stamp: str, chance: random.Random) -> None:
    """A DATA file: totals that run on, caps, and one line in ten that is bad."""
    lines = []
    for _ in range(30):
        usage = f"{chance.choice(DIALS)},{chance.randrange(1, 5)},{chance.randrange(160)}"
        line = f"{usage},20200417{chance.randrange(18, 24)}3743"
        lines.append(line if chance.random() > 0.1 else line[:-3])
    write(place / "data" / f"DATA_{stamp}.csv", "\n".join(lines) + "\n")


class Damaged:
    """A state that a run left, the rest of DATA for the next one, and what that must come to."""

    def __init__(self, root: Path, kind: str) -> None:
        self.root = root
        self.place = root / "place"
        until, self.files = KINDS[kind]
        chance = random.Random(5)
        write(self.place / "segment" / "SEGMENT.csv", "".join(f"{dial}\n" for dial in DIALS[:-1]))
        write(self.place / "rules" / "RULES.csv", RULES)
        for minute in range(3):
            traffic(self.place, f"20200417194{minute}", chance)
        self.start = self._leave(until)
        for minute in range(3, 6):
            traffic(self.place, f"20200417194{minute}", chance)
        self.expected = self.after(self.copy(root / "sound"))

    def _leave(self, until: str) -> Path:
        whole, cut_off = self.root / "0-0", self.root / "0-1"
        whole.mkdir()
        if not until:
            RUN.run(self.place, whole)
            return whole
        strace.available()
        cut_off.mkdir()
        trace = self.root / "trace"
        points = strace.record_calls(lambda: end(lambda: RUN.run(self.place, whole)), trace)
        point = [point for point in points if point.mutates and until in point.text][-1]
        strace.inject(lambda: end(lambda: RUN.run(self.place, cut_off)), point, KILL, trace)
        return cut_off

    def copy(self, world: Path) -> Consumer:
        """The state once more; its consumer has taken all."""
        shutil.copytree(self.start, world)
        consumer = Consumer(world / "out")
        consumer.take()
        return consumer

    def after(self, consumer: Consumer) -> tuple[dict[str, bytes], Totals]:
        """All that was sent, and the totals, after a run over what is there."""
        RUN.run(self.place, consumer.output.parent)
        consumer.take()
        with StateReader.open(consumer.output / ".upswell") as reader:
            return consumer.contents(), reader.totals()

    def consequence(self, consumer: Consumer) -> str:
        """What a restart over the damage ends in: "told", "harmless", or what is wrong."""
        state = consumer.output / ".upswell"
        verify(state)
        try:
            contents, totals = self.after(consumer)
        except UpswellError as error:
            if error.exit_code not in TOLD or not error.hint:
                return f"{error!r} with exit code {error.exit_code} and the hint {error.hint!r}"
            return "told"
        if contents != self.expected[0]:
            return f"other output: {contents} instead of {self.expected[0]}"
        if totals != self.expected[1] and not verify(state):
            return f"other totals, found by nobody: {totals} instead of {self.expected[1]}"
        return "harmless"


@pytest.mark.trust("T14")
@pytest.mark.parametrize("kind", KINDS)
def test_damage_to_a_state_is_told_or_harmless(tmp_path: Path, trust: Trust, kind: str) -> None:
    """Flipped, zeroed, overwritten or cut anywhere, a state stops the next run, or changes nothing that it sends."""
    damaged = Damaged(tmp_path, kind)
    consequences = Counter[str]()

    def try_all(seeds: Sequence[int]) -> list[str]:
        wrong = []
        for seed in seeds:
            chance = random.Random(seed)
            consumer = damaged.copy(tmp_path / "world")
            done = damage(consumer.output / ".upswell" / chance.choice(damaged.files), chance)
            found = damaged.consequence(consumer)
            if found not in ("told", "harmless"):
                wrong.append(f"{done} (seed {seed}): {found}")
            consequences[found] += 1
            shutil.rmtree(consumer.output.parent)
        return wrong

    trust(range(500), try_all, case="damaged places", sample=20)
    assert "slow" == PROFILE or {"told", "harmless"} == set(consequences)
