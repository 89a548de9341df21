"""Files and JSON from outside: what is refused, before anything is read, in one line."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from egru import untrusted
from egru.errors import EgretError
from egru.image import ImageError, load_image
from egru.untrusted import (
    JSONError,
    MissingError,
    UnreadableError,
    brief,
    opened,
    read_file,
    shown,
    strict_json,
)


def plain(_value):
    """A name for a parameter that is too long for one."""
    return "case"


def special_files(folder):
    """By name a path that is no regular file, or is one that nobody can want to read."""
    os.mkfifo(folder / "fifo")
    with open(folder / "sparse", "wb") as file:
        file.truncate(64 << 30)
    (folder / "link").symlink_to("/dev/zero")
    (folder / "loop").symlink_to(folder / "loop")
    return {
        "fifo": folder / "fifo",
        "sparse": folder / "sparse",
        "device": "/dev/zero",
        "link to a device": folder / "link",
        "loop": folder / "loop",
        "directory": folder,
        "missing": folder / "none",
        "in a file": folder / "sparse" / "x",
        "NUL": "a\0b",
        "half a character": "a\ud800",
        "long": "x" * 100_000,
        "empty": "",
        "bytes": b"abc",
        "number": 0,
        "nothing": None,
    }


def test_nothing_but_a_regular_file_is_read_and_nothing_is_waited_for(tmp_path):
    seen = {}
    for name, path in special_files(tmp_path).items():
        with pytest.raises(UnreadableError) as caught:
            read_file(path, 1 << 20)
        seen[name] = str(caught.value)
        assert "\n" not in seen[name] and len(seen[name]) < 200
        with pytest.raises(ImageError, match="cannot be read"):
            load_image(path)
    assert seen["fifo"] == "it is a FIFO, not a regular file"
    assert seen["device"] == seen["link to a device"] == "it is a device, not a regular file"
    assert seen["directory"] == "it is a directory, not a regular file"
    assert seen["sparse"] == f"it has {64 << 30} bytes, and may have at most {1 << 20}"
    assert "NUL" in seen["NUL"] and "must be a text or a Path, not None" in seen["nothing"]


def test_a_socket_is_named_as_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # for its path must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        with pytest.raises(UnreadableError, match="it is a socket, not a regular file"):
            read_file("socket", 10)


def test_a_missing_file_is_told_from_one_that_cannot_be_read(tmp_path):
    with pytest.raises(MissingError, match="No such file"):
        read_file(tmp_path / "none", 10)
    with pytest.raises(UnreadableError) as caught:
        read_file(tmp_path, 10)
    assert not isinstance(caught.value, MissingError)


def test_files_are_closed_whatever_becomes_of_them(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    before = sorted(os.listdir("/proc/self/fd"))
    for limit in (2, 3):
        try:
            read_file(tmp_path / "a", limit)
        except UnreadableError:
            assert limit == 2
    with pytest.raises(UnreadableError):
        read_file(tmp_path, 10)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x" * 100)
    with pytest.raises(UnreadableError, match="became shorter"):
        with opened(path, 1000) as source:
            assert source.read(8) == b"x" * 8
            os.truncate(path, 50)
            source.rest()
    with pytest.raises(UnreadableError, match="more than the 50 bytes"):
        with opened(path, 1000) as source:
            path.write_bytes(b"x" * 51)
            source.rest()
    assert read_file(path, 51) == b"x" * 51


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested too deeply, more than 64 levels"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("[" * 65 + "]" * 65, "nested too deeply"),
        ('["\\\\", ' + "[" * 64 + "]" * 64 + "]", "nested too deeply"),
        ("9" * 4301, "an integer has 4301 digits, more than 4300"),
        ("[-" + "9" * 10_000_000 + "]", "digits, more than 4300"),
        ('{"a": 1, "a": 2}', "an object has a key twice"),
        ('{"a": 1, "\\u0061": 2}', "an object has a key twice"),
        ("NaN", "NaN is not a JSON number"),
        ("[-Infinity]", "-Infinity is not a JSON number"),
        ("1e999", "1e999 is too large"),
        ("-" + "1" * 400 + ".5", "is too large for a number"),
        ('"\\ud800"', "half a surrogate pair"),
        ('{"\\uDC00x": 1}', "half a surrogate pair"),
        ('"\ud800"', "half a surrogate pair"),
        ("\ufeff{}", "line 1, column 1"),
        (b"\xef\xbb\xbf{}", "line 1, column 1"),
        ("{}".encode("utf-16"), "byte 0 is not UTF-8"),
        (b'{"a": "\xff"}', "byte 7 is not UTF-8"),
        ("", "line 1, column 1"),
        ('{"a": \n ]', "line 2, column 2"),
        ('["' + '\\"' * 1_000_000, "not valid JSON"),
        ('["' * 1_000_000, "not valid JSON"),
        ('["' + "\\" * 1_000_001, "not valid JSON"),
    ],
    ids=plain,
)
def test_json_outside_the_bounds_is_refused_in_one_short_line(text, message):
    with pytest.raises(JSONError, match=message) as caught:
        strict_json(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, -0.5, None, True, "é\U0001f600\n"], "": {}},
        "[" * 100 + '"{' + "\\",  # in a text brackets nest nothing
        ["[" * 70, {"]": "\\" * 3}],
        10**4299,
        json.loads("[" * 64 + "]" * 64),
        "\U0001f600",
    ],
    ids=plain,
)
def test_json_inside_the_bounds_is_what_it_was(value):
    assert strict_json(json.dumps(value)) == value
    assert strict_json(json.dumps(value, ensure_ascii=False).encode()) == value


def test_the_bounds_do_not_depend_on_settings_of_python():
    code = (
        "import sys; sys.set_int_max_str_digits(0); sys.setrecursionlimit(10**8)\n"
        "from egru.untrusted import *\n"
        "for text in ('[' * 1_000_000, '9' * 4301):\n"
        "    try: strict_json(text)\n"
        "    except JSONError as error: print(error)\n"
        "sys.set_int_max_str_digits(640)\n"
        "try: strict_json('9' * 4000)\n"
        "except JSONError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("not valid JSON") == 3


def test_a_value_is_shown_in_a_few_letters_on_one_line():
    nested = {"a": [[[[[[[[1]]]]]]]]}
    for value in (10**5000, -(10**5000), [10**5000], "x" * 10**6, "a\nb", nested, np.zeros((9, 9))):
        assert len(brief(value)) < 100 and "\n" not in brief(value)


def test_the_size_of_a_huge_number_is_shown():
    assert brief(10**5000).removeprefix("about 10^") in ("5000", "5001")
    assert brief(-(10**5000)).startswith("about -10^")
    assert brief(10**18) == str(10**18)


def test_a_path_is_shown_on_one_line_and_as_it_is_where_that_can_be():
    assert shown("a b/é") == "a b/é"
    assert shown("a\nb\0\x1b[2J\ud800") == r"'a\nb\x00\x1b[2J\ud800'"
    assert len(shown("x" * 10**6)) < 400


def test_the_readers_of_json_files_use_both(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'{"a": [1]}')
    assert untrusted.read_json(path) == {"a": [1]}
    assert issubclass(JSONError, EgretError) and issubclass(UnreadableError, EgretError)
