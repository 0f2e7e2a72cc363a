"""The kernel's files and folders form no circle: each knows only what lies below it.

Uses are read out of the paths in ``kernel/src``: those that begin with ``crate`` or ``super``, and those that begin
with a child that the file declares. A declaration itself is no use, nor are the tests at the end of a file. A method
is found by its type, wherever it is written: it has no path, and the file that has it names the type.
"""

import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

Uses = dict[str, set[str]]

_TESTS = re.compile(r"^#\[cfg\(test\)\]\n.*", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"//.*")
_PATH = re.compile(r"\b((?:crate|super|self)::(?:\w+::)*)(\w+|\{)")


def paths_in(code: str) -> Iterator[tuple[str, ...]]:
    """Yield the paths of the code, each name within braces as a path of its own."""
    for found in _PATH.finditer(code):
        head = tuple(found[1].split("::")[:-1])
        if "{" != found[2]:
            yield (*head, found[2])
            continue
        depth, at = 1, found.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(code[at], 0)
            at += 1
        for inner in split_names(code[found.end() : at - 1]):
            yield from ((*head, *path[1:]) for path in paths_in(f"crate::{inner}"))


def split_names(names: str) -> Iterator[str]:
    """Yield the names of a braced list; a list within it stays whole."""
    depth, name = 0, ""
    for char in f"{names},":
        depth += {"{": 1, "}": -1}.get(char, 0)
        if "," == char and not depth:
            if name.strip():
                yield name.strip()
            name = ""
        else:
            name += char


def module_of(path: Path, folder: Path) -> tuple[str, ...]:
    """Return the module that a file is: ("scan", "wide"); () of the crate's root."""
    parts = path.relative_to(folder).with_suffix("").parts
    return parts[:-1] if parts[-1] in ("lib", "mod") else parts


def uses_of(folder: Path) -> Uses:
    """Return, for each file below the folder, the other files that its code names."""
    files = {
        module_of(path, folder): str(path.relative_to(folder)) for path in folder.rglob("*.rs")
    }
    uses: Uses = {name: set() for name in files.values()}
    for module, name in files.items():
        code = _COMMENT.sub("", _TESTS.sub("", (folder / name).read_text("utf-8")))
        # A module written out within the file, as the one of PyO3, sees the file's as `super`.
        inline = re.search(r"^mod \w+ \{", code, re.MULTILINE)
        for at, part in enumerate(
            [code[: inline.start()], code[inline.start() :]] if inline else [code]
        ):
            for root, *rest in paths_in(part):
                base = {"crate": (), "self": module, "super": module if at else module[:-1]}[root]
                target = (*base, *rest)
                while target not in files:
                    target = target[:-1]
                if target and target != module:
                    uses[name].add(files[target])
        for child in re.findall(r"\bmod (\w+);", code):
            if re.search(rf"(?<![:\w]){child}::", code):
                uses[name].add(files[(*module, child)])
    return uses


def circle_in(uses: Uses) -> list[str]:
    """Return the names along a circle, the first one again at its end; empty when there is none."""
    try:
        TopologicalSorter(uses).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def by_folder(uses: Uses) -> Uses:
    """Return the same uses between what stands in the crate's root: folders, and files beside them."""
    folders: Uses = {}
    for name, others in uses.items():
        top = name.split("/")[0]
        folders.setdefault(top, set()).update(other.split("/")[0] for other in others)
    return {top: others - {top} for top, others in folders.items()}


@pytest.fixture
def uses(root: Path) -> Uses:
    """The uses between the kernel's files."""
    return uses_of(root / "kernel" / "src")


def test_the_files_of_the_kernel_form_no_circle(uses: Uses) -> None:
    """No file uses one that, by whatever way, uses it."""
    assert [] == circle_in(uses)


def test_the_folders_of_the_kernel_form_no_circle(uses: Uses) -> None:
    """Nor does a folder."""
    assert [] == circle_in(by_folder(uses))


def test_nothing_in_the_kernel_but_its_border_knows_python(uses: Uses) -> None:
    """No file outside ``python/`` uses one within it."""
    outside = {name: others for name, others in uses.items() if not name.startswith("python/")}

    assert [] == [
        name for name, others in outside.items() if any("python/" in other for other in others)
    ]


def test_the_map_of_the_kernel_has_all_of_it_from_the_bottom_up(root: Path, uses: Uses) -> None:
    """The map in ``lib.rs`` names each folder and file of the crate's root, after all that it uses."""
    text = (root / "kernel" / "src" / "lib.rs").read_text("utf-8")
    listed = re.findall(
        r"^//! ([a-z]+)/? +\S", text.partition("```text\n")[2].partition("```")[0], re.MULTILINE
    )
    below = {top.removesuffix(".rs"): others for top, others in by_folder(uses).items()}
    del below["lib"]

    assert sorted(below) == sorted(listed)
    for number, top in enumerate(listed):
        assert {other.removesuffix(".rs") for other in below[top]} <= set(listed[:number]), top


def test_a_circle_is_seen_at_both_levels(tmp_path: Path) -> None:
    """The check reads grouped, nested and inline paths, and leaves out comments and tests."""
    for name, code in {
        "lib.rs": "mod a;\nmod b;\n",
        "a/mod.rs": "pub mod one;\npub mod two;\nfn f() { two::g(); }\n",
        "a/one.rs": "use crate::{a::{two::Two, one}, b::B};\n",
        "a/two.rs": "fn f() { super::one::g(); }\n",
        "b.rs": "// crate::a::two\n#[cfg(test)]\nmod tests { use crate::a::one; }\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(code)
    uses = uses_of(tmp_path)

    assert {"a/two.rs", "b.rs"} == uses["a/one.rs"]
    assert {"a/two.rs"} == uses["a/mod.rs"]
    assert set() == uses["b.rs"]
    assert {"a/one.rs", "a/two.rs"} == set(circle_in(uses))
    assert [] == circle_in(by_folder(uses))

    (tmp_path / "b.rs").write_text("fn f() { crate::a::one::g() }\n")
    assert {"a", "b.rs"} == set(circle_in(by_folder(uses_of(tmp_path))))
