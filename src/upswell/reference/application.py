"""Applications and their directories in OUTPUT: one name is made from the other.

Owns that mapping alone; touches no file. A directory's name is one safe path component, whatever the rule says, and
the application's name can be restored from it.
"""

import unicodedata
import urllib.parse


def directory_name(application: str) -> str:
    """Return the directory name of an application: safe in a path, and different for different applications.

    Letters, marks, digits, space and ``_ . -`` stay; every other byte and a leading dot are percent-encoded.
    """
    encoded = []
    for position, char in enumerate(unicodedata.normalize("NFC", application)):
        category = unicodedata.category(char)
        keep = category[0] in "LM" or category == "Nd" or char in " _.-"
        if keep and not (position == 0 and char == "."):
            encoded.append(char)
        else:
            encoded.extend(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogateescape"))
    return "".join(encoded)


def application_of(directory: str) -> str | None:
    """Return the application whose directory has this name; None when no application has it."""
    name = urllib.parse.unquote(directory, errors="surrogateescape")
    try:
        name.encode()
    except UnicodeEncodeError:
        return None
    return name if directory_name(name) == directory else None
