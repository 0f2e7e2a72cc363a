"""How an application's name and its directory in OUTPUT become each other.

Owns that mapping alone; touches no disk. A directory's name is one safe path component whatever the rule says, and
gives back the name that it was made of.
"""

import unicodedata
import urllib.parse


def directory_name(application: str) -> str:
    """The output directory of an application: safe on disk, and different for different names.

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
    """The application's name that a directory's name was made from; None when it was made from none."""
    name = urllib.parse.unquote(directory, errors="surrogateescape")
    try:
        name.encode()
    except UnicodeEncodeError:
        return None
    return name if directory_name(name) == directory else None
