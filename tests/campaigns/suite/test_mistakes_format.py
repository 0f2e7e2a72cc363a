"""The mistakes of mistakes.toml: each has its one place in the sources, and nothing else is changed."""

import ast
from pathlib import Path

import pytest

from support import mistakes
from support.command import ROOT
from support.mistakes import Change, Mistake, UnfitError

SOURCE = '''\
LIMIT = ("rows", 5)


class Writer:
    def write(self, rows):
        """Écrire."""
        if rows:  # é counts as two bytes
            é = self.count(rows) * 2; self.sync()
            self.execute(
                "INSERT INTO log"
                " VALUES (?)",
                rows,
            )
        self.sync()

    def sync(self):
        self.flush()
'''


def apply(function: str = "Writer.write", **keys: str) -> str:
    """Return SOURCE with a change of this function."""
    return mistakes.apply(SOURCE, Change("writer", function=function, **{"by": "", **keys}))


def test_every_mistake_fits_the_sources() -> None:
    """Each mistake can be made in the sources as they are, and the test that must catch it exists."""
    unfit = []
    for mistake in mistakes.read():
        try:
            for source in mistakes.changed(mistake, ROOT / "src" / "upswell").values():
                ast.parse(source)
        except UnfitError as error:
            unfit.append(str(error))
        file, _, test = mistake.caught_by.partition("::")
        path = ROOT / file
        if not path.exists() or f"def {test}(" not in path.read_text("utf-8"):
            unfit.append(f"{mistake.name}: there is no test {mistake.caught_by}; name its guard")

    assert [] == unfit


@pytest.mark.parametrize(
    ("replace", "by", "old", "new"),
    [
        ("self.count( rows )", "1 + 1", "self.count(rows) * 2", "(1 + 1) * 2"),
        ("self.execute", "print", "self.execute(", "(print)("),
        ("é=self.count(rows)*2", "é = 0\nself.stop()", "é = self.count(rows) * 2",
         "é = 0\n            self.stop()"),
        ("é = self.count(rows) * 2\nself.sync()", "pass", "é = self.count(rows) * 2; self.sync()",
         "pass"),
    ],
)  # fmt: skip
def test_what_is_named_is_replaced(replace: str, by: str, old: str, new: str) -> None:
    """An expression keeps its place among operators; statements take the indent of those that they replace."""
    assert SOURCE.replace(old, new) == apply(replace=replace, by=by)


def test_statements_are_deleted() -> None:
    """Nothing stands in the place of statements but in a block that would be empty."""
    call = 'self.execute("INSERT INTO log VALUES (?)", rows)'

    assert "\n            \n        self.sync()\n" in apply(replace=call)
    assert SOURCE.replace("self.flush()", "pass") == apply("Writer.sync", replace="self.flush()")


def test_piece_of_a_string_is_replaced() -> None:
    """A string literal is searched for what it says, however it is cut into lines."""
    found = apply(replace_in_string="INTO log VALUES", by="INTO other VALUES")

    assert "(\n                'INSERT INTO other VALUES (?)',\n                rows," in found


def test_code_outside_functions_is_replaced() -> None:
    """Without a function the whole module is searched; a class is searched as a function is."""
    assert SOURCE.replace("5", "(6)") == apply("", replace="5", by="6")
    assert SOURCE.replace("self.flush", "(print)") == apply(
        "Writer", replace="self.flush", by="print"
    )


@pytest.mark.parametrize(
    ("function", "key", "code", "words"),
    [
        ("Writer.run", "replace", "rows", "upswell.writer has no Writer.run; give the function"),
        ("write", "replace", "rows", "upswell.writer has no write; give the function"),
        ("Writer.write", "replace", "self.flush()", "Writer.write of upswell.writer has this 0 times"),
        ("Writer.sync", "replace_in_string", "log", "Writer.sync of upswell.writer has this 0 times"),
        ("Writer.write", "replace", "self.sync()", "Writer.write of upswell.writer has this 2 times"),
        ("", "replace_in_string", "o", "upswell.writer has this 2 times"),
    ],
)  # fmt: skip
def test_what_is_not_there_once_is_refused(function: str, key: str, code: str, words: str) -> None:
    """No code is replaced unless exactly one place is meant; the error says which key to mend."""
    with pytest.raises(UnfitError) as refused:
        apply(function, **{key: code})

    assert str(refused.value).startswith(words)
    assert "`function`" in str(refused.value) or f"`{key}`" in str(refused.value)


def test_module_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A mistake is named together with what is to be mended; several changes of a module add up."""
    (tmp_path / "writer.py").write_text(SOURCE, "utf-8")
    both = (
        Change("writer", "print", "self.flush"),
        Change("writer", "0", '"rows"'),
    )
    away = Mistake("gone", "", "", (Change("output.writer", "0", "5", function="Writer.write"),))

    after = mistakes.changed(Mistake("both", "", "", both), tmp_path)
    with pytest.raises(UnfitError) as refused:
        mistakes.changed(away, tmp_path)

    assert [SOURCE.replace("self.flush", "(print)").replace('"rows"', "(0)")] == list(
        after.values()
    )
    assert (
        "gone: there is no module upswell.output.writer; give the one that has Writer.write now"
        in (str(refused.value))
    )
