"""A short slice of the fuzzing of `readers.py`: it finds nothing, and it finds what is planted.

It runs as a process of its own, as libFuzzer ends the one that it is in.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("atheris", reason="atheris has wheels for Linux alone")
FUZZER = Path(__file__).with_name("readers.py")


def fuzz(*options):
    done = subprocess.run(
        [sys.executable, FUZZER, *map(str, options)], capture_output=True, text=True, errors="replace"
    )
    return done.returncode, done.stdout + done.stderr


def test_thousands_of_altered_files_end_in_one_line_or_are_read(tmp_path):
    status, said = fuzz("--runs", 4000, "--seed", 1, "--corpus", tmp_path / "corpus")
    assert status == 0, said[-3000:]
    assert re.search(r"Done \d{4,} runs", said)
    assert (
        len(list((tmp_path / "corpus").iterdir())) > 30
    )  # inputs that reach something new, beyond the seeds


@pytest.mark.parametrize(("bug", "finding"), [("naturals", "TypeError"), ("memory", "out-of-memory")])
def test_a_planted_bug_is_found_by_an_input_that_is_fine_without_it(tmp_path, bug, finding):
    status, said = fuzz("--runs", 40_000, "--seed", 1, "--plant", bug, "--corpus", tmp_path / "corpus")
    assert status != 0 and finding in said, said[-3000:]
    found = [path for path in tmp_path.iterdir() if path.name.startswith("corpus-")]
    assert len(found) == 1
    status, said = fuzz("--replay", found[0])
    assert status == 0, said[-3000:]
