"""Whatever a fuzzer once found in SEGMENT and RULES, or is given to begin with, is tried in every run of the tests."""

from pathlib import Path

import pytest

from support.fuzz.attempts import ATTEMPTS

CORPUS = Path(__file__).parent / "corpus"
FILE_BYTES_MAX = 20_000


@pytest.mark.parametrize("target", ATTEMPTS)
def test_the_corpus_breaks_no_promise(target: str) -> None:
    """Every file of the corpus is taken or refused in words."""
    files = sorted((CORPUS / target).iterdir())

    assert len(files) > 5
    for file in files:
        ATTEMPTS[target](file.read_bytes())


def test_a_corpus_stays_small(root: Path) -> None:
    """A clone and a run of the tests stay quick: a few hundred small files in all."""
    files = [
        path
        for place in (CORPUS, root / "kernel" / "fuzz" / "corpus")
        for path in place.rglob("*")
        if path.is_file()
    ]

    assert sum(path.stat().st_size for path in files) <= 200 << 10
    assert [] == [str(path) for path in files if path.stat().st_size > FILE_BYTES_MAX]
