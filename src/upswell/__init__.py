"""Turns a telecom's data-usage stream into campaign notifications, each exactly once.

Owns ``__version__``, and imports nothing until somebody asks for it. ARCHITECTURE.md describes the modules.
"""

__all__ = ["__version__"]


def __getattr__(name: str) -> str:
    # The version is set in kernel/Cargo.toml; the compiled module has it from there.
    if name == "__version__":
        from upswell.kernel import VERSION

        return VERSION
    raise AttributeError(name)
