"""The web page over a state."""
