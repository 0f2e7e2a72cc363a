"""The static files of the page: plain HTML, CSS and ES modules, served unchanged.

Owns which files there are and their media types. Nothing is built, and nothing comes from another host.
"""

from importlib import resources

from upswell.errors import UsageError

KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def static(name: str) -> tuple[bytes, str]:
    """Return a static file and its media type. Raises UsageError if there is no file of that name."""
    suffix = name[name.rfind(".") :]
    if "/" not in name and not name.startswith(".") and suffix in KINDS:
        place = resources.files(__package__) / "static" / name
        if place.is_file():
            return place.read_bytes(), KINDS[suffix]
    raise UsageError("page not found", "start at /")
