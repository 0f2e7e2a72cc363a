"""Lets ``python -m upswell`` be the command ``upswell``."""

from upswell.cli import main

if __name__ == "__main__":
    main()
