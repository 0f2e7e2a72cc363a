"""The web page about a state: its server, its JSON and its static files."""
