"""Turns a telecom's data-usage stream into campaign notifications, each exactly once.

Owns ``__version__`` and imports nothing until it is asked for it. See ARCHITECTURE.md for the modules.
"""

__all__ = ["__version__"]


def __getattr__(name: str) -> str:
    # The version lives in kernel/Cargo.toml; the compiled module is the part that was built from it.
    if name == "__version__":
        from upswell.kernel import VERSION

        return VERSION
    raise AttributeError(name)
