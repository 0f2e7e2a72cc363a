"""No msisdn reaches a terminal, a log, a process list, a temporary file or a name, whatever the run meets."""

import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from support.child import Ended, run
from support.inputs import RULES, write
from support.trust import Trust

SENTINEL = re.compile(rb"7790[0-9]{5}")
"""What all msisdns of this test hold, in whatever form they are written, and nothing else does."""
FAST = ("--settle-s", "0", "--log-interval-s", "0.1", "--poll-s", "0.05", "-v")
PATHS = ("data", "segment", "rules", "out")


def forms(number: int) -> tuple[str, ...]:
    """A sentinel as good and as bad producers write it."""
    digits = f"7790{number:05}"
    return (f"0{digits}", f"+20{digits}", f"0020{digits}", f"20{digits}", f"00020{digits}")


def lines(numbers: Sequence[int]) -> Iterator[bytes]:
    """A record of each sentinel, and each malformed in its own way."""
    for number in numbers:
        dial, plus, *others = forms(number)
        good = f"{dial},1,315,20200417193743"
        yield from (
            good.encode(), f'"{plus}",1,315,20200417193743'.encode(), f"{others[0]};1;315;20200417193743".encode(),
        )  # fmt: skip
        bad = (
            f"{dial}x,1,315,20200417193743", f"1,{dial},315,20200417193743", f"{dial},1,315,{others[0]}",
            f"{dial},1,{others[1]}{dial},20200417193743", f"{dial},9,9,20200417193743", f"{dial},3,999,20200417033743",
            f"x,1,{others[2]},20200417193743", f"{dial} ", f"'{dial}',1,2,20200417193743", f"{dial},1,2,20990417193743",
            f"{dial},1,2,20200101193743", f"\x1b]{dial}\x07,1,2,3", f",,,{others[0]}", f"{dial}\t{dial}", dial * 30,
        )  # fmt: skip
        yield bad[number % len(bad)].encode()
    yield "".join(forms(numbers[0])).encode("utf-16")


def write_all(place: Path, numbers: Sequence[int]) -> None:
    """DATA, SEGMENT and RULES, full of sentinels wherever one could get by mistake."""
    shutil.rmtree(place, ignore_errors=True)
    one, two = forms(numbers[0]), forms(numbers[1])
    write(place / "data" / "DATA_202004171937.csv", b"\n".join(lines(numbers)) + b"\n")
    for name in (
        f"{one[0]}.csv",
        f"DATA_{one[0]}.csv",
        f"DATA_202004171937.csv.{one[1]}",
        f"customer {one[3]}",
    ):
        write(place / "data" / name, one[0])
    write(place / "data" / "DATA_202004171936.csv.gz", f"{one[0]},1".encode())
    good = "".join(f"{forms(number)[number % 4]}\n" for number in numbers)
    bad = f"{one[0]},{one[0]}\n{one[0]}x\n{one[0]}E+2\n{one[0][1:]}\n'{one[1]}'\n{one[2] * 2}\n"
    write(place / "segment" / "a.csv", good)
    write(place / "segment" / f"b {one[0]}.csv", bad * 3)
    write(place / "rules" / "a.csv", RULES)
    write(
        place / "rules" / f"b {one[0]}.csv",
        "".join(
            f"{row}\n"
            for row in (
                one[0], f"{two[0]},X,8,20,1", f"4,{one[0]},8,{two[0]},1", f"4,{one[0]},{two[0]},8,1",
                f"4,ok,8,9,{two[0] * 2}", f'"{one[0]}', f"1,{one[0]},1,2,3", f"1,{one[0]}X,1,2,3", f"5,\xe9{one[0]},1",
                f"6,{one[0]}{two[0]},1,1,1", "7,TWITTER,1,2,3",
            )
        ),
    )  # fmt: skip
    (place / "temporary").mkdir()


def told_by(place: Path, numbers: Sequence[int]) -> Iterator[tuple[str, Ended]]:
    """Every command in every state of the inputs, and what it told."""
    wrong = forms(numbers[0])[0]

    def tell(*words: str, **more: object) -> tuple[str, Ended]:
        ended = run(
            *words, cwd=place, TMPDIR=str(place / "temporary"), PYTHONFAULTHANDLER="1", **more
        )  # type: ignore[arg-type]
        return f"{' '.join(words)} {more}", ended

    yield tell("check", *PATHS)
    yield tell("check", *PATHS, "--json")
    yield tell(*PATHS, "--once", *FAST, "--debug")
    yield tell(
        *PATHS,
        "--once",
        *FAST,
        "--state",
        "other",
        "--adopt",
        terminal=True,
        TERM="xterm",
        COLUMNS="9000",
    )
    yield tell(*PATHS, "--once", "--json", *FAST)
    for words in (
        ("status",),
        ("status", "--json"),
        ("status", "--log"),
        ("state", "verify"),
        ("state", "show", "--json"),
    ):
        yield tell(*words, "--output", "out")
    yield tell("check", *PATHS, terminal=True, COLUMNS="9000")
    # What is set up wrong: a dial where a setting, a word or a file should be.
    yield tell(*PATHS, wrong)
    yield tell("status", "--output", "out", wrong)
    yield tell(*PATHS, f"--{wrong}", "--debug")
    yield tell(*PATHS, "--once", "--since", wrong, "--debug")
    yield tell(*PATHS, "--once", UPSWELL_POLL_S=wrong)
    yield tell(*PATHS, "--once", UPSWELL_OUTPUT_GROUP=wrong)
    yield tell(*PATHS, "--once", UPSWELL_DATA_TIMEZONE=wrong)
    for text in (
        f"poll_s = {wrong[1:]}1",
        f'{wrong} = "x"',
        f'measure = "{wrong}"',
        f"x = {wrong}",
        f'"{wrong}',
    ):
        write(place / "upswell.toml", text)
        yield tell(*PATHS, "--once", "--debug")
    (place / "upswell.toml").unlink()
    # A running job that meets a bad edit, a file that changed, and a stop; then one that is aborted.
    write(place / "out/.upswell/rejects.txt", "")
    for stop in (signal.SIGTERM, signal.SIGABRT):
        yield tell(*PATHS, *FAST, during=_meddler(place, wrong, stop))
    for name in ("data/DATA_202004171937.csv", "out/.upswell/checkpoint.db"):
        content = (place / name).read_bytes()
        (place / name).write_bytes(content[: len(content) // 2].replace(b"2020", b"2021"))
        for words in (
            (*PATHS, "--once", *FAST, "--debug"),
            ("status", "--output", "out", "--debug"),
            ("state", "verify", "--output", "out"),
        ):
            yield tell(*words)


def _meddler(place: Path, wrong: str, stop: signal.Signals) -> Callable[[int], None]:
    def meddle(process: int) -> None:
        held = place / "out/.upswell/output.lock"
        until = time.monotonic() + 20
        while str(process) not in held.read_text() and time.monotonic() < until:
            time.sleep(0.05)
        listed = (
            Path(f"/proc/{process}/cmdline").read_bytes()
            + Path(f"/proc/{process}/environ").read_bytes()
        )
        assert not SENTINEL.search(listed)
        (place / "segment" / "a.csv").write_text(f"{wrong}x\n" * 50)
        (place / "rules" / "a.csv").write_text(f"{wrong},{wrong},8,{wrong},1\n")
        with (place / "data" / "DATA_202004171938.csv").open("a") as stream:
            stream.write(f"{wrong},1,{wrong},20200417193843\n{wrong}")
        time.sleep(1.0)
        os.kill(process, stop)

    return meddle


@pytest.mark.trust("S4")
def test_no_msisdn_is_told(trust: Trust, tmp_path: Path) -> None:
    """Ten thousand customers go through good and bad runs, edits, settings, damage and stops, and none is named in
    what any command writes, in the process list, in a temporary file or in the name of a file.
    """

    def attempt(numbers: Sequence[int]) -> list[str]:
        place = tmp_path / "run"
        write_all(place, numbers)
        found = []
        for words, ended in told_by(place, numbers):
            if hits := set(SENTINEL.findall(ended.told)):
                at = SENTINEL.search(ended.told)
                assert at is not None
                found.append(
                    f"{words}: {len(hits)}: {ended.told[max(at.start() - 150, 0) : at.end() + 50]!r}"
                )
            if ended.code == 70 or not ended.told:
                found.append(f"{words}: exit code {ended.code}: {ended.told[-900:]!r}")
        found += [f"{path} is left" for path in (place / "temporary").rglob("*")]
        found += [
            f"the name {path}"
            for path in [*(place / "out").rglob("*"), *(place / "other").rglob("*")]
            if SENTINEL.search(os.fsencode(path.name))
        ]
        return found

    trust(range(10_000), attempt, case="customers", sample=10_000, chunk=10_000)


@pytest.mark.trust("S4")
def test_generated_msisdns_are_not_told(trust: Trust, tmp_path: Path) -> None:
    """What is made up for a trial is told no more than what is real: by generate, by demo, and by a run over it."""

    def attempt_command(words: tuple[str, ...]) -> Iterator[str]:
        ended = run(*words, cwd=tmp_path)
        made = (tmp_path / "made.csv").read_bytes().split()
        if ended.code:
            yield f"{ended.err!r}"
        yield from (f"told {dial!r}" for dial in made if dial in ended.told)

    data = (
        "generate",
        "data",
        "data",
        "--files",
        "2",
        "--records",
        "1000",
        "--customers",
        "4000",
        "--faults",
    )
    commands = (
        ("generate", "rules", "rules"), data, (*data, "--start", "202601060800", "--json"),
        ("data", "made.csv", "rules", "out", "--once", "--settle-s", "0"),
    )  # fmt: skip

    def attempt(some: Sequence[tuple[str, ...]]) -> list[str]:
        ended = run("generate", "segment", "made.csv", "--customers", "4000", cwd=tmp_path)
        assert 0 == ended.code, ended.err
        return [complaint for words in some for complaint in attempt_command(words)]

    trust(commands, attempt, case="commands", sample=len(commands))


def test_a_run_leaves_no_core(tmp_path: Path) -> None:
    """The limit of a core file's size is 0 once the command runs."""
    write_all(tmp_path, range(10))
    limits = []

    def look(process: int) -> None:
        until = time.monotonic() + 20
        while not (tmp_path / "out/.upswell/output.lock").exists() and time.monotonic() < until:
            time.sleep(0.05)
        limits.append(Path(f"/proc/{process}/limits").read_text())
        os.kill(process, signal.SIGTERM)

    run(*PATHS, *FAST, cwd=tmp_path, during=look)

    assert re.search(r"Max core file size +0 ", limits[0])
