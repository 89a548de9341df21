"""What a path names decides how it is written."""

import os
import socket
import stat
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egru import testing
from egru.errors import EgretError
from egru.image import save_image
from egru.writing import (
    beside,
    check_directory,
    check_output,
    check_outputs,
    folder_name,
    write_pages,
    write_whole,
)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def loose_umask():
    before = os.umask(0o027)
    yield
    os.umask(before)


def test_a_new_file_gets_what_the_umask_leaves_and_an_old_one_keeps_its_mode(tmp_path, loose_umask):
    write_whole(tmp_path / "new", b"1")
    assert mode_of(tmp_path / "new") == 0o640
    for mode in (0o600, 0o664, 0o755):
        old = tmp_path / f"{mode:o}"
        old.write_bytes(b"old")
        old.chmod(mode)
        write_whole(old, b"2")
        assert (old.read_bytes(), mode_of(old)) == (b"2", mode)


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "store").mkdir()
    target = tmp_path / "store" / "target"
    target.write_bytes(b"old")
    link, chain, dangling = tmp_path / "link", tmp_path / "chain", tmp_path / "dangling"
    link.symlink_to("store/target")
    chain.symlink_to(link)
    dangling.symlink_to("store/deeper/new")
    write_whole(link, b"1")
    assert link.is_symlink() and target.read_bytes() == b"1"
    write_whole(chain, "2")
    assert chain.is_symlink() and link.is_symlink() and target.read_bytes() == b"2"
    write_whole(dangling, b"3")
    assert dangling.is_symlink() and (tmp_path / "store" / "deeper" / "new").read_bytes() == b"3"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["chain", "dangling", "link", "store"]


def test_a_linked_folder_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "alias").symlink_to("real")
    write_pages(tmp_path / "alias", {"a": "1"})
    assert (tmp_path / "alias").is_symlink() and (tmp_path / "real" / "a").read_text() == "1"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_a_device_stays_a_device(tmp_path):
    device = tmp_path / "null"
    os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    before = device.stat()
    try:
        write_whole(device, b"x")
    except PermissionError:  # pragma: no cover - a file system without devices
        pytest.skip("no devices here")
    after = device.stat()
    assert stat.S_ISCHR(after.st_mode) and after.st_ino == before.st_ino


def test_dev_null_and_dev_full():
    write_whole("/dev/null", b"x")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    with pytest.raises(EgretError, match="output /dev/full cannot be written: No space left on device"):
        write_whole("/dev/full", b"x")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_a_pipe_takes_the_bytes_if_somebody_reads(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(EgretError, match="pipe cannot be written"):
        write_whole(pipe, b"x")  # and does not wait
    data, got = os.urandom(300_000), []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    while True:
        try:
            write_whole(pipe, data)
            break
        except EgretError:  # the reader is not there yet
            pass
    reader.join()
    assert got == [data] and stat.S_ISFIFO(pipe.stat().st_mode)


def test_what_is_no_file_is_refused(tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        before = Path.cwd()
        os.chdir(tmp_path)  # the name of a socket may not be long
        try:
            server.bind("socket")
        finally:
            os.chdir(before)
        for path in (tmp_path, tmp_path / "socket"):
            with pytest.raises(EgretError, match=r"output .* must be a file"):
                write_whole(path, b"")
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    with pytest.raises(EgretError, match="cannot be written: Too many levels"):
        write_whole(loop, b"")
    assert loop.is_symlink()


def test_missing_folders_are_made_and_a_check_leaves_no_trace(tmp_path):
    path = tmp_path / "a" / "b" / "c"
    check_output(path)
    check_directory(path, ("d",))
    assert not (tmp_path / "a").exists()
    write_whole(path, b"1")
    assert path.read_bytes() == b"1"
    save_image(testing.random_image(np.random.default_rng(0)), tmp_path / "n" / "x.egret")
    assert (tmp_path / "n" / "x.egret").is_file()


@pytest.mark.parametrize("name", ["x" * 256, "é" * 128, "\U0001f426" * 64, "a" * 300 + "/b", "nul\0"])
def test_a_name_that_is_too_long_or_none_is_refused_before_the_work(tmp_path, name):
    for path in (tmp_path / name, tmp_path / "new" / name):
        with pytest.raises(EgretError, match=r"^output "):
            check_output(path)
        with pytest.raises(EgretError, match=r"^output "):
            check_directory(path)
    assert not list(tmp_path.iterdir())


def test_the_longest_name_can_be_written(tmp_path):
    write_whole(tmp_path / ("x" * 255), b"1")
    assert (tmp_path / ("x" * 255)).read_bytes() == b"1"


@pytest.mark.parametrize("failing", ["fsync", "replace", "fchmod"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, failing, error):
    path = tmp_path / "page.md"
    path.write_text("old")

    def fail(*_):
        raise error

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises((KeyboardInterrupt, EgretError)):
        write_whole(path, b"new")
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["page.md"]
    assert path.read_text() == "old"


def test_an_output_that_is_the_input_is_refused_by_every_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = tmp_path / "in"
    given.write_bytes(b"precious")
    (tmp_path / "folder").mkdir()
    (tmp_path / "soft").symlink_to("in")
    os.link(given, tmp_path / "hard")
    for name in ("in", "./in", "folder/../in", str(given), "soft", "hard"):
        with pytest.raises(EgretError, match=r"output .* must not be the input in: name another file"):
            check_output(Path(name), Path("other"), None, Path("in"))
    with pytest.raises(EgretError, match="must not be the input"):
        check_output(given, tmp_path / "soft")
    with pytest.raises(EgretError, match="must not be the input"):
        check_directory(tmp_path, ("x", "hard"), (given,))
    check_output(Path("other"), Path("in"))
    check_output(Path("/dev/null"), Path("/dev/null"))


def test_outputs_of_one_command_differ(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("a")
    for pair in (("a", "./a"), ("a", "link"), ("a", str(tmp_path / "a"))):
        with pytest.raises(EgretError, match="outputs must be different files"):
            check_outputs(pair)
    check_outputs(("a", "b", "/dev/null", "/dev/null"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_what_may_not_be_written_is_refused(tmp_path):  # pragma: no cover
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o444)
    with pytest.raises(EgretError, match="must be writable"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"


def test_a_file_beside_another_one():
    assert beside(Path("a/b.c"), ".d") == Path("a/b.d")
    for none in (".", "/", ""):
        with pytest.raises(EgretError, match="must name a file"):
            beside(Path(none), ".d")


@pytest.mark.parametrize(
    "name", ["digits", "ptb-char", "my net", "größe 2", "v1.2", "a_b", "x" * 64, "A+B (c)"]
)
def test_a_plain_name_stands_for_itself(name):
    assert folder_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            ".",
            "..",
            "../../x",
            "/etc/x",
            "a/b",
            "-rf",
            ".hidden",
            "a.",
            " a",
            "a\\b",
            "a\nb",
            "a\x1b[2J",
        ),
        *("\udcff", "simulations", "\U0001f426" * 64, "\U00020000" * 64, "a-0123456789ab", "$(x)", "*"),
    ],
)
def test_another_name_is_changed(name):
    made = folder_name(name, ("simulations",))
    assert made != name and made[-13] == "-"
    _check_safe(made)


def _check_safe(made: str) -> None:
    assert made and made == made.strip(" .") and made[0] != "-"
    assert "/" not in made and made.isprintable() and len(made.encode()) <= 255


names = st.one_of(st.text(max_size=64), st.text("ab/.-0\x00 ", max_size=6))


@given(names, names)
def test_two_names_never_share_a_folder(one, other):
    assert (folder_name(one) == folder_name(other)) == (one == other)
    _check_safe(folder_name(one))
    # nor with the name that was made
    assert folder_name(folder_name(one)) != folder_name(one) or folder_name(one) == one
