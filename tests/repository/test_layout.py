"""The repository keeps its shape: one version, one importer of the kernel, every exit code in the manual."""

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from support.command import ROOT
from upswell import errors

SOURCES = sorted((ROOT / "src" / "upswell").rglob("*.py"))


def tracked() -> list[Path]:
    """Return the files of the repository, including those not yet added."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    names = [name for name in listed.stdout.decode().split("\0") if name]
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def cargo_version() -> str:
    """Return the version from the one place where it is written."""
    manifest = tomllib.loads((ROOT / "kernel" / "Cargo.toml").read_text("utf-8"))
    return str(manifest["package"]["version"])


def error_types(kind: type[errors.UpswellError]) -> list[type[errors.UpswellError]]:
    """Return the type and all its subclasses."""
    return [kind, *(each for below in kind.__subclasses__() for each in error_types(below))]


def test_the_version_is_that_of_the_crate() -> None:
    """The package, its metadata and the compiled kernel carry the version of kernel/Cargo.toml."""
    import upswell

    assert cargo_version() == upswell.__version__
    assert cargo_version() == importlib.metadata.version("upswell")


def test_the_changelog_knows_the_version() -> None:
    """A version has its section, released or not."""
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")

    assert re.search(rf"^## {re.escape(cargo_version())}\b", changelog, re.MULTILINE)


def test_only_kernel_py_imports_the_compiled_module() -> None:
    """Values cross the language border in one module, so that it can be read, typed and replaced there."""
    importers = [
        str(path.relative_to(ROOT / "src" / "upswell"))
        for path in SOURCES
        if re.search(r"^\s*(from|import)\s.*\b_kernel\b", path.read_text("utf-8"), re.MULTILINE)
    ]

    assert ["kernel/__init__.py"] == importers


SQL = re.compile(r"\b(?:SELECT|INSERT|PRAGMA|DELETE FROM|CREATE TABLE)\s")
QUERY = re.compile(r"\b(?:reader|checkpoint)\._\w+|\._rows\(")


def test_sql_stands_in_state_alone() -> None:
    """What a query means, and whether row checksums are verified, is decided in one package."""
    found = []
    for path in SOURCES:
        if "state" in path.relative_to(ROOT / "src" / "upswell").parts[:1]:
            continue
        text = path.read_text("utf-8")
        constants = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant))
        values = [node.value for node in constants if isinstance(node.value, str)]
        found += [f"{path.name}: {value}" for value in values if SQL.search(value)]
        found += [f"{path.name}: {match[0]}" for match in QUERY.finditer(text)]

    assert [] == found


def modules_after(statement: str) -> set[str]:
    """Return the top-level modules, and ours, that a fresh interpreter has loaded after the statement."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    names = json.loads(done.stdout)
    return {name if name.startswith("upswell") else name.partition(".")[0] for name in names}


def test_the_kernel_module_pulls_in_nothing_heavy() -> None:
    """A worker process imports upswell.kernel alone: the standard library and the compiled module."""
    added = modules_after("import upswell.kernel") - modules_after("pass")
    foreign = {
        name
        for name in added
        if not name.startswith("upswell") and name not in sys.stdlib_module_names
    }

    assert set() == foreign
    assert {"upswell", "upswell.kernel._kernel", "upswell.kernel"} <= added


def test_help_starts_without_the_engine() -> None:
    """Imports are lazy: what --help needs is click, not the kernel, the database or the terminal's toolkit."""
    added = modules_after(
        "import contextlib, io, sys\nfrom upswell.cli.main import main\nsys.argv = ['upswell', '--help']\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n    main()"
    )

    assert set() == added & {"upswell.kernel._kernel", "rich", "sqlite3", "watchfiles"}


@pytest.mark.parametrize("kind", error_types(errors.UpswellError), ids=lambda kind: kind.__name__)
def test_every_error_has_an_exit_code_that_the_manual_tells(
    kind: type[errors.UpswellError],
) -> None:
    """docs/operations.md has a table row for the exit code of every error."""
    manual = (ROOT / "docs" / "operations.md").read_text("utf-8")

    assert re.search(rf"^\|\s*`?{kind.exit_code}`?\s*\|", manual, re.MULTILINE), kind.exit_code


# Spelled in pieces, so that this file passes its own test.
STRANGERS = re.compile(
    "|".join(["/wor" + "k/", "/roo" + "t/", "DESIG" + r"N\.md", "TRUS" + r"T\.md"])
)


def test_no_file_names_a_machine_of_its_authors() -> None:
    """Paths of the machine a file was written on, and papers outside of the repository, mean nothing to its readers."""
    found = []
    for path in tracked():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in STRANGERS.finditer(text)]

    assert [] == found


def test_the_tree_holds_no_build_product_and_nothing_large() -> None:
    """What can be built is not kept, and a clone stays small."""
    built = {".so", ".pyc", ".whl", ".pex", ".db", ".rlib"}
    odd = [
        str(path.relative_to(ROOT))
        for path in tracked()
        if path.suffix in built or path.stat().st_size > 512 * 1024
    ]

    assert [] == odd
