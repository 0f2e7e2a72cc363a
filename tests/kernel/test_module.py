"""The compiled module is the one of the present sources, and says the same words as the reference."""

import hashlib
import subprocess
import sys
from pathlib import Path

from upswell import kernel, semantics
from upswell.reference import segment


def test_the_module_is_built_from_the_present_sources(root: Path) -> None:
    """A stale compiled module fails here: run `make build`."""
    folder = root / "kernel"
    names = ["Cargo.lock", "Cargo.toml", "build.rs"]
    names += [
        str(path.relative_to(folder)) for path in (folder / "src").rglob("*") if path.is_file()
    ]
    digest = hashlib.sha256()
    for name in sorted(names, key=lambda name: Path(name).parts):
        digest.update(name.encode() + b"\0" + (folder / name).read_bytes() + b"\0")

    assert digest.hexdigest() == kernel.SOURCE_DIGEST


def test_constants_are_those_of_the_reference() -> None:
    """Outcomes, reasons and limits are the same words and numbers in both languages."""
    assert semantics.OUTCOMES == kernel.OUTCOMES
    assert semantics.REASONS == kernel.REASONS
    assert segment.LINE_BYTES_MAX == kernel.LINE_BYTES_MAX
    assert "scalar" == kernel.PATHS[-1]


def test_the_stub_is_the_module(root: Path) -> None:
    """Stubtest finds no difference between the stub and the compiled module."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "upswell.kernel._kernel"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert 0 == done.returncode, done.stdout
