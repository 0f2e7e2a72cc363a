"""Lets ``python -m upswell`` be the command ``upswell``."""

from upswell.cli.main import main

if __name__ == "__main__":
    main()
