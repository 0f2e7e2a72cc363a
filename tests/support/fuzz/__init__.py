"""Fuzz targets for what is parsed in Python, and what they try."""
