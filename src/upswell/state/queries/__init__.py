"""Questions to a state, each a function over a ``StateReader``, divided by what they are about."""
