"""The commands, one module each: a module parses arguments, calls one function below, and prints."""
