"""The command line: what its arguments mean, and what is printed."""
