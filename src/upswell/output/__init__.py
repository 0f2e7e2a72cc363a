"""OUTPUT and reject files: staged, published, never replaced."""
