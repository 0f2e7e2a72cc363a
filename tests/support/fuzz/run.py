"""Lets atheris, libFuzzer for Python, think of files: ``run.py rules|segment [options of libFuzzer] CORPUS…``."""

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent))
with atheris.instrument_imports(include=["upswell", "attempts"]):
    from attempts import ATTEMPTS

target, *words = sys.argv[1:]
atheris.Setup([sys.argv[0], *words], ATTEMPTS[target])
atheris.Fuzz()
