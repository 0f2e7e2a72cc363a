"""Seeded inputs and their answer key."""
