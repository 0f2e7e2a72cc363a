"""Runs the command line for ``python -m upswell``."""

from upswell.cli.main import main

if __name__ == "__main__":
    main()
