"""The encoding of names on disk and of the two streams.

Owns the switch to UTF-8: names on disk are UTF-8 whatever the locale says, since the same state is read under several.
Output keeps the encoding of its terminal or pipe; a character that it lacks is escaped.
"""

import os
import sys
from typing import TextIO, cast

_OPTION = "upswell_streams"
"""Names the encodings that the streams had before the switch, to the process after it."""


def use_utf8() -> None:
    """Go on in a process whose names are UTF-8: this one, or the same command again in its place.

    Python chooses the encoding of names once, before any of our code runs: the locale's under an 8-bit one.
    """
    streams = [cast("TextIO | None", stream) for stream in (sys.stdout, sys.stderr)]
    if sys.getfilesystemencoding() != "utf-8" and _OPTION not in sys._xoptions:
        before = ",".join(stream.encoding if stream is not None else "" for stream in streams)
        options = ["-X", "utf8", "-X", f"{_OPTION}={before}"]
        # For the processes that this one starts.
        environ = os.environ | {"PYTHONUTF8": "1"}
        os.execve(sys.executable, [sys.executable, *options, *sys.orig_argv[1:]], environ)
    encodings = str(sys._xoptions.get(_OPTION, ",")).split(",")
    for stream, encoding in zip(streams, encodings, strict=True):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding=encoding or stream.encoding, errors="backslashreplace")
