"""How many mutants the tests kill: what mutmut left in ``mutants/``, counted for docs/trust.md.

``make mutation`` runs mutmut and then this. A mutant that no test had to notice yet, or that a kill of the run kept
from being tried, is not counted.
"""

import json
from collections import Counter
from datetime import UTC, datetime

from mutmut.stats import status_by_exit_code

from support import trust

PLACE = trust.ROOT / "mutants" / "src" / "upswell"
KILLED = frozenset(("killed", "timeout", "segfault"))
SURVIVED = frozenset(("survived", "no tests"))


def main() -> None:
    """Append a count for each module that was tried wholly, and print them all."""
    for path in sorted(PLACE.rglob("*.meta")):
        module = str(path.relative_to(PLACE)).removesuffix(".meta")
        found = json.loads(path.read_text())["exit_code_by_key"]
        counts = Counter(status_by_exit_code[code] for code in found.values())
        killed = sum(counts[status] for status in KILLED)
        tried = killed + sum(counts[status] for status in SURVIVED)
        if not tried:
            continue
        left = f", {len(found) - tried} not tried" if tried < len(found) else ""
        print(f"{module}: {killed} of {tried} mutants killed, {killed / tried:.0%}{left}")
        if not left:
            keep(module, killed, tried)


def keep(module: str, killed: int, tried: int) -> None:
    """Write the count where a run of the suite writes its own."""
    count = trust.Count(
        promise="T18",
        test=f"mutants of {module}",
        claim=f"A change of {module}, one operator, value or call at a time, is noticed by a test.",
        case="mutants killed",
        release=True,
        start=0,
        covered=killed,
        total=tried,
        wrong=0,
        seed=0,
        sources=trust.digest(),
        commit=trust.commit(),
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        seconds=0,
    )
    trust.COUNTS.parent.mkdir(exist_ok=True)
    with trust.COUNTS.open("a") as stream:
        stream.write(json.dumps(count._asdict()) + "\n")


if __name__ == "__main__":
    main()
