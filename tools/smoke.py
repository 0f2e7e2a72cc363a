"""Runs the brief's sample with the one-file deliverable as a stranger would: nothing else of ours is there.

From an empty directory, with an empty environment, started directly and by every Python of this machine that is new
enough. Called by ``make smoke`` with the path of the PEX; the file is not a test for pytest, as it needs that product.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

BRIEF = Path(__file__).parent.parent / "examples" / "brief"
EXPECTED = {
    "Twitter": b"0126545098,1,315,20200417193743\n",
    "WhatsApp": b"0126545098,2,222,20200417193744\n",
}
MINORS = range(11, 20)


def check_wheels(pex: Path) -> None:
    """Fail when a wheel inside is bound to one Python version: the file would not run on another."""
    with zipfile.ZipFile(pex) as archive:
        inside = {name.split("/")[1] for name in archive.namelist() if name.startswith(".deps/")}
    for served in ("starlette", "uvicorn"):
        if not any(name.startswith(f"{served}-") for name in inside):
            sys.exit(f"smoke: {served} is missing, which serves the page")
    bound = [name for name in inside if name and "-none-any" not in name and "-abi3-" not in name]
    if bound:
        sys.exit(f"smoke: neither pure nor abi3: {', '.join(sorted(bound))}")


def pythons() -> dict[str, str]:
    """By version: the interpreters of this machine that the deliverable is for."""
    found = {}
    for name in ["python3", *(f"python3.{minor}" for minor in MINORS)]:
        path = shutil.which(name)
        if path is None:
            continue
        code = "import platform, sys; print(platform.python_version(), sys.version_info >= (3, 11))"
        done = subprocess.run([path, "-c", code], capture_output=True, text=True, check=False)
        version, _, fits = done.stdout.strip().partition(" ")
        if done.returncode == 0 and fits == "True":
            found.setdefault(version, path)
    return found


def run(command: list[str], home: Path) -> float:
    """Run the sample in a new directory and compare; the seconds it took."""
    output = Path(tempfile.mkdtemp(dir=home))
    paths = [BRIEF / "data", BRIEF / "segment", BRIEF / "rules", output]
    begun = time.monotonic()
    done = subprocess.run(
        [*command, *map(str, paths), "--once"],
        cwd=output,
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    took_s = time.monotonic() - begun
    got = {
        directory.name: b"".join(file.read_bytes() for file in directory.iterdir())
        for directory in output.iterdir()
        if directory.name[0] != "."
    }
    if done.returncode != 0 or got != EXPECTED:
        sys.exit(
            f"smoke: {' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}{got}"
        )
    return took_s


def look(command: list[str], home: Path) -> None:
    """Fail when the page is not inside, or what serves it."""
    done = subprocess.run(
        [*command, "dashboard", "--output", "nothing", "--get", "/"],
        cwd=home,
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0 or "<title>Upswell</title>" not in done.stdout:
        sys.exit(f"smoke: no page in it: exit {done.returncode}\n{done.stdout}{done.stderr}")


def main() -> None:
    """Try the file given on the command line, each way twice: the first start unpacks it."""
    pex = Path(sys.argv[1]).resolve()
    check_wheels(pex)
    with tempfile.TemporaryDirectory(prefix="upswell-smoke-") as scratch:
        home = Path(scratch)
        copy = shutil.copy2(pex, home)
        ways = {"started by itself": [str(copy)]}
        ways |= {f"by Python {version}": [path, str(copy)] for version, path in pythons().items()}
        look([str(copy)], home)
        for way, command in ways.items():
            first_s, second_s = run(command, home), run(command, home)
            print(f"smoke: {way}: the brief's output, in {first_s:.1f} s, then {second_s:.1f} s")


if __name__ == "__main__":
    main()
