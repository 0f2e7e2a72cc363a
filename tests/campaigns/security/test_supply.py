"""What the product is made of: pinned to the last package, freely licensed, and without code that runs code."""

import ast
import importlib.metadata
import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from support.command import ROOT
from support.trust import Trust

MODULES = sorted((ROOT / "src").rglob("*.py"))
REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"
# A product under Apache-2.0 may ship these.
LICENSES = {
    "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "MIT", "PSF-2.0", "Unicode-3.0",
    "Unlicense", "Zlib",
}  # fmt: skip
CLASSIFIERS = {"License :: OSI Approved :: MIT License": "MIT"}
"""Of packages that name their licence in no other way."""
DANGEROUS_MODULES = {
    "pickle",
    "marshal",
    "shelve",
    "dill",
    "yaml",
    "subprocess",
    "pty",
    "xmlrpc",
    "code",
    "runpy",
}
STARTS_JAVA = ("jvm.py", "subprocess")
"""The module that starts Spark's JVM, which is asked for by --engine spark alone."""
DANGEROUS_CALLS = {"eval", "exec", "compile", "__import__", "system", "popen", "mktemp"}


def is_free(expression: str) -> bool:
    """Whether a licence expression can be met by licences of the list: one side of each OR, both of each AND."""
    expression = expression.replace("/", " OR ").strip()
    if expression in LICENSES:
        return True
    for word, enough in ((" AND ", all), (" OR ", any)):
        depth, sides = 0, [""]
        for part in re.split(rf"([()]|{word})", expression):
            depth += (part == "(") - (part == ")")
            if part == word and not depth:
                sides.append("")
            else:
                sides[-1] += part
        if len(sides) > 1:
            return enough(map(is_free, sides))
    return expression.startswith("(") and is_free(expression[1:-1])


def crates() -> list[dict[str, str]]:
    """Every crate that the kernel is built of, with all features."""
    done = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--locked", "--all-features"],
        cwd=ROOT / "kernel", capture_output=True, check=True,
    )  # fmt: skip
    found: list[dict[str, str]] = json.loads(done.stdout)["packages"]
    return [crate for crate in found if crate["name"] != "upswell-kernel"]


def constraints() -> dict[str, str]:
    """The version of every Python package that is shipped, by its name in one form."""
    rows = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    return dict(_one_form(row).split("==") for row in rows if row and not row.startswith("#"))


def needed(name: str, seen: set[str]) -> set[str]:
    """The package and all that it pulls in on the Pythons that we run on."""
    if name not in seen:
        seen.add(name)
        for requirement in map(Requirement, importlib.metadata.requires(name) or []):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                needed(_one_form(requirement.name), seen)
    return seen


def _one_form(name: str) -> str:
    return name.lower().replace("_", "-")


@pytest.mark.trust("S10")
def test_every_package_is_pinned_and_free(trust: Trust) -> None:
    """Every crate comes from crates.io at the version and digest that Cargo.lock names, every Python package at the
    version that constraints.txt names, and each under a licence that a product under Apache-2.0 may ship.
    """
    locked = tomllib.loads((ROOT / "kernel" / "Cargo.lock").read_text("utf-8"))["package"]
    sums = {(each["name"], each["version"]): each.get("checksum") for each in locked}
    pinned = constraints()
    python = sorted((needed("upswell", set()) | pinned.keys()) - {"upswell"})

    def attempt(names: list[tuple[str, str]]) -> list[str]:
        wrong = []
        for kind, name in names:
            if kind == "crate":
                crate = by_name[name]
                if crate["source"] != REGISTRY or not sums.get((crate["name"], crate["version"])):
                    wrong.append(f"{name} is not pinned by a digest")
                license = crate["license"] or ""
            else:
                about = importlib.metadata.metadata(name)
                if pinned.get(name) != about["Version"]:
                    wrong.append(f"{name} {about['Version']} is pinned to {pinned.get(name)}")
                told = [CLASSIFIERS.get(each, "") for each in about.get_all("Classifier", [])]
                license = about["License-Expression"] or about["License"] or "".join(told)
            if not is_free(license):
                wrong.append(f"{name} is under {license!r}")
        return wrong

    by_name = {f"{crate['name']} {crate['version']}": crate for crate in crates()}
    cases = [("crate", name) for name in by_name] + [("package", name) for name in python]
    trust(cases, attempt, case="crates and packages", sample=len(cases))


@pytest.mark.trust("S10")
def test_no_code_runs_code(trust: Trust) -> None:
    """No module of the product starts a process, unpickles, or runs text as code; it stores rows, not objects. One
    starts Java, for a run on Spark.
    """

    def attempt(modules: list[Path]) -> list[str]:
        wrong = []
        for module in modules:
            for node in ast.walk(ast.parse(module.read_text("utf-8"))):
                imported = (
                    [each.name for each in node.names] if isinstance(node, ast.Import) else []
                )
                imported += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                called = ""
                if isinstance(node, ast.Call):
                    called = node.func.id if isinstance(node.func, ast.Name) else ""
                    if isinstance(node.func, ast.Attribute) and isinstance(
                        node.func.value, ast.Name
                    ):
                        called = (
                            node.func.attr
                            if node.func.value.id in ("os", "tempfile", "builtins")
                            else ""
                        )
                    wrong += [
                        f"{module.name}: {each.arg}="
                        for each in node.keywords
                        if each.arg == "shell"
                    ]
                wrong += [
                    f"{module.name}:{node.lineno}: {each}"
                    for each in (*imported, called)
                    if (each.partition(".")[0] in DANGEROUS_MODULES or each in DANGEROUS_CALLS)
                    and (module.name, each) != STARTS_JAVA
                ]
        return wrong

    trust(MODULES, attempt, case="modules", sample=len(MODULES))


def test_unsafe_code_is_in_three_files() -> None:
    """All Rust that the compiler cannot check is in files that allow it by name; every other file is denied it."""
    folder = ROOT / "kernel" / "src"
    unsafe = [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*.rs"))
        if re.search(r"^(?!\s*//).*\bunsafe(_code)?\b(?!_)", path.read_text("utf-8"), re.MULTILINE)
    ]
    lints = tomllib.loads((ROOT / "kernel" / "Cargo.toml").read_text("utf-8"))["lints"]["rust"]

    assert "deny" == lints["unsafe_code"]
    assert ["ledger/pages.rs", "prefetch.rs", "scan/wide.rs"] == unsafe


def test_licences_are_read_right() -> None:
    """A choice is free when one side is, a sum when both are; what is not known is not free."""
    assert all(
        map(
            is_free, ("MIT", "GPL-3.0 OR MIT", "MIT/Apache-2.0", "(MIT OR GPL-3.0) AND Unicode-3.0")
        )
    )
    assert not any(
        map(is_free, ("", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR Zlib) AND SSPL-1.0", "UNKNOWN"))
    )
