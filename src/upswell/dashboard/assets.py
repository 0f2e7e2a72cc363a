"""The page's own files: plain HTML, CSS and ES modules, served and printed as they are.

Owns which names there are and of which kind they are. Nothing is built, and nothing comes from another host.
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
    """A file of the page and its kind. Raises UsageError when there is none of that name."""
    suffix = name[name.rfind(".") :]
    if "/" not in name and not name.startswith(".") and suffix in KINDS:
        place = resources.files(__package__) / "static" / name
        if place.is_file():
            return place.read_bytes(), KINDS[suffix]
    raise UsageError("there is no such page", "ask for /")
