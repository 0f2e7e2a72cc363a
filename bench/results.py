"""Where the figures are kept: results/<question>.json, a case by its name.

Owns those files. A case that is measured again replaces the one before, so questions and cases can be run one by one;
``report`` makes the page out of whatever is there.
"""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
QUESTIONS = ("throughput", "latency", "sustained", "memory", "growth", "spark")


def save(question: str, case: str, figures: dict[str, Any]) -> None:
    """Keep the figures of one case of a question."""
    RESULTS.mkdir(exist_ok=True)
    kept = load(question) | {case: figures}
    (RESULTS / f"{question}.json").write_text(_text(kept), "utf-8")


def _text(cases: dict[str, dict[str, Any]]) -> str:
    """JSON with a line for each figure: thousands of measured values do not fill as many lines."""
    shown = []
    for case, figures in cases.items():
        lines = (f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in figures.items())
        shown.append(f" {json.dumps(case)}: {{\n" + ",\n".join(lines) + "\n }")
    return "{\n" + ",\n".join(shown) + "\n}\n"


def load(question: str) -> dict[str, dict[str, Any]]:
    """The cases of a question by name, in the order they were first measured; empty when there are none."""
    path = RESULTS / f"{question}.json"
    return dict(json.loads(path.read_text("utf-8"))) if path.exists() else {}


def percentile(values: list[float], share: float) -> float:
    """The value that this share of the values does not exceed."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]
