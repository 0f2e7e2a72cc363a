"""Queries over a state: functions of a ``StateReader``, divided by subject."""
