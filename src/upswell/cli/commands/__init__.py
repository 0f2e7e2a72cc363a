"""One file a command, imported only when the command is used."""
