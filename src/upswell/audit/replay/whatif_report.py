"""The HTML report of scenarios: one self-contained file, without scripts and without msisdns.

Owns the HTML and the SVG. It computes nothing and writes nothing. No text of RULES or of a path enters the page
unescaped, and the page loads nothing.
"""

from collections.abc import Iterator, Sequence
from html import escape as quote

from upswell.audit.replay.scenarios import CurvePoint, Scenario, WhatIf
from upswell.privacy import escape

_WIDE, _HIGH, _MARGIN = 640, 220, 48  # pixels of a chart and its margins
_COLORS = ("#5f6b7a", "#c2410c", "#1d4ed8", "#15803d", "#7e22ce", "#a16207")
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; color: #1f2933 }
table { border-collapse: collapse; margin: 1rem 0 } td, th { padding: .2rem .8rem; text-align: right }
td:first-child, th:first-child { text-align: left } thead { border-bottom: 1px solid #cbd2d9 }
svg { width: 100%; height: auto } svg text { font: 11px system-ui, sans-serif; fill: #52606d }
"""


def render(found: WhatIf) -> str:
    """Return the page."""
    names = [scenario.name for scenario in found.scenarios]
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>Upswell: what if</title><style>{_STYLE}</style></head><body><h1>What if</h1>",
        f"<p>{_legend(names)}</p>",
        _table(found),
    ]
    for name in found.applications:
        parts.append(f"<h2>{_text(name)}</h2><h3>Notifications by hour</h3>")
        parts.append(_hours(found.scenarios, name))
        if points := found.curves.get(name):
            parts.append(
                f"<h3>Notifications by threshold, of {_text(names[1])}</h3>{_curve(points)}"
            )
    parts += [f"<p>Note: {_text(note)}</p>" for note in found.notes]
    return "\n".join([*parts, "</body></html>\n"])


def _text(text: str) -> str:
    return quote(escape(text))


def _color(number: int) -> str:
    return _COLORS[number % len(_COLORS)]


def _legend(names: Sequence[str]) -> str:
    return " &nbsp; ".join(
        f'<span style="color:{_color(number)}">&#9632;</span> {_text(name)}'
        for number, name in enumerate(names)
    )


def _table(found: WhatIf) -> str:
    was = found.scenarios[0]
    rows = []
    for name in found.applications:
        for scenario in found.scenarios[1:]:
            cells = (
                was.notifications(name), scenario.notifications(name),
                len(scenario.gained(name, was)), len(was.gained(name, scenario)),
            )  # fmt: skip
            numbers = "".join(f"<td>{n:,}</td>" for n in cells)
            rows.append(f"<tr><td>{_text(name)}</td><td>{_text(scenario.name)}</td>{numbers}</tr>")
    heads = ("application", "rules", "notifications before", "after", "customers gained", "lost")
    head = "".join(f"<th>{word}</th>" for word in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _hours(scenarios: Sequence[Scenario], name: str) -> str:
    """Return bars for each hour, those of the scenarios side by side."""
    most = max(n for scenario in scenarios for (of, _), n in scenario.hours.items() if of == name)
    step = (_WIDE - 2 * _MARGIN) / 24
    wide = step * 0.8 / len(scenarios)
    bars = []
    for number, scenario in enumerate(scenarios):
        for hour in range(24):
            if n := scenario.hours[name, hour]:
                x, high = _MARGIN + hour * step + number * wide, n / most * (_HIGH - 2 * _MARGIN)
                bars.append(
                    f'<rect x="{x:.1f}" y="{_HIGH - _MARGIN - high:.1f}" width="{wide:.1f}" height="{high:.1f}"'
                    f' fill="{_color(number)}"><title>{hour}h: {n:,}, {_text(scenario.name)}</title></rect>'
                )
    labels = [_label(_MARGIN + (hour + 0.4) * step, f"{hour}") for hour in range(0, 24, 3)]
    return _svg([*_axes(most), *bars, *labels])


def _curve(points: Sequence[CurvePoint]) -> str:
    """Return a line from the lowest threshold to the highest, at equal steps: thresholds may lie far apart."""
    most = max(point.notifications for point in points) or 1
    step = (_WIDE - 2 * _MARGIN) / max(len(points) - 1, 1)
    places = [
        (_MARGIN + at * step, _HIGH - _MARGIN - point.notifications / most * (_HIGH - 2 * _MARGIN))
        for at, point in enumerate(points)
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    marks = [f'<polyline points="{line}" fill="none" stroke="{_color(1)}" stroke-width="2"/>']
    for point, (x, y) in zip(points, places, strict=True):
        at = point.label()
        radius = 5 if point.factor == 1 else 3
        marks.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{_color(1)}"><title>{at}:'
            f" {point.notifications:,}</title></circle>"
        )
        marks.append(_label(x, at))
    return _svg([*_axes(most), *marks])


def _axes(most: int) -> Iterator[str]:
    base = _HIGH - _MARGIN
    yield f'<path d="M{_MARGIN} {_MARGIN}V{base}H{_WIDE - _MARGIN}" fill="none" stroke="#cbd2d9"/>'
    yield f'<text x="{_MARGIN - 6}" y="{_MARGIN + 4}" text-anchor="end">{most:,}</text>'


def _label(x: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{_HIGH - _MARGIN + 16}" text-anchor="middle">{text}</text>'


def _svg(parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {_WIDE} {_HIGH}" role="img">{"".join(parts)}</svg>'
