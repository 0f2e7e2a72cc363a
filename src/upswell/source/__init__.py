"""DATA: which bytes of which files are next."""
