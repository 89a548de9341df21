"""Folders by names that makefiles and shells can take.

Verilator's makefile, and those that it writes, break at a space in the path of a folder, be it that of the
build, of the checkout or of the packages. So a link without one stands for it while a program is built.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from egru.errors import EgretError

_SAFE = re.compile(r"[A-Za-z0-9_./+,@-]+")


@contextmanager
def safe_words(*folders: Path) -> Iterator[Callable[[str], str]]:
    """Yield a function that replaces, in a word of a command, folders by links whose paths are safe.

    Raises
    ------
    EgretError
        If no folder is there in which such links could be made.
    """
    unsafe = {str(path) for given in folders for path in (given, given.resolve()) if not is_safe(path)}
    with ExitStack() as stack:
        links: dict[str, str] = {}
        if unsafe:
            parent = stack.enter_context(tempfile.TemporaryDirectory(prefix="egret-", dir=_safe_folder()))
            for number, path in enumerate(sorted(unsafe, key=len, reverse=True)):
                link = Path(parent) / f"{number}"
                link.symlink_to(path)
                links[path] = str(link)

        def safe(word: str) -> str:
            for path, link in links.items():
                word = word.replace(path, link)
            return word

        yield safe


def is_safe(path: Path) -> bool:
    """Whether makefiles and shells can take a path as it is."""
    return _SAFE.fullmatch(str(path)) is not None


def _safe_folder() -> str:
    for name in (tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"):
        path = Path(name)
        if is_safe(path) and path.is_dir() and os.access(path, os.W_OK | os.X_OK):
            return name
    raise EgretError(
        "building a simulation in a folder with spaces or letters beyond ASCII needs a folder without them "
        "to work in: let TMPDIR name one"
    )
