"""The command line: what the words mean and what is printed."""
