"""The compiled kernels' tests under a sanitizer of g++: python sanitize.py address|thread [PYTEST ARGUMENTS].

The kernels alone are built with the sanitizer, into a cache of their own under build/. First a fault is
planted in a copy of their sources, and must be found: a sanitizer that sees nothing says nothing.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SUPPRESSIONS = Path(__file__).parent / "thread-sanitizer.txt"
TESTS = ("tests/egru/test_sparse_kernels.py", "tests/egru/test_border.py")

# For each sanitizer: its options; and a fault: what is said of it, its file, a text and what replaces that.
KINDS = {
    "address": (
        # The interpreter frees little at its end. Too much memory is refused, as without a sanitizer.
        {"ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1"},
        ("heap-buffer-overflow", "egru.cpp", "places * (3 * layer.inputs + 1)", "places * 3 * layer.inputs"),
    ),
    "thread": (
        {
            "TSAN_OPTIONS": f"suppressions={SUPPRESSIONS}:ignore_noninstrumented_modules=1",
        },
        ("data race", "forward.h", "      team.wait();\n    }\n    finish();", "    }\n    finish();"),
    ),
}
PROGRAM = """
import torch
from egru import EGRU
from egru.kernels import sparse
sparse.THREAD_WORK = 0
torch.set_num_threads(2)
x = torch.randn(30, 9, 6)
print(EGRU(6, 64, kernel="sparse", theta_mean=0.01)(x)[0].sum())
"""


def main(kind: str, *arguments: str) -> int:
    """Run the fault, then the tests; return the exit status."""
    options, (says, name, text, instead) = KINDS[kind]
    folder = ROOT / "build" / "sanitize" / kind
    runtime = _output("g++", f"-print-file-name=lib{kind[0]}san.so")
    environment = os.environ | options | {
        "EGRET_KERNEL_FLAGS": f"-fsanitize={kind} -fno-omit-frame-pointer -O1 -g",
        # With the C++ library, whose exceptions the sanitizer would not find otherwise.
        "LD_PRELOAD": f"{runtime} {_output('g++', '-print-file-name=libstdc++.so')}",
        "XDG_CACHE_HOME": str(folder / "cache"),
        "CXX": "g++",
    }  # fmt: skip
    # The thread sanitizer of older compilers takes memory to lie where it does without randomness.
    fixed = ["setarch", "-R"] if kind == "thread" and shutil.which("setarch") else []

    planted = folder / "planted"
    shutil.rmtree(planted, ignore_errors=True)
    shutil.copytree(ROOT / "golden" / "egru", planted / "egru")
    source = planted / "egru" / "kernels" / name
    before = source.read_text()
    if before.count(text) != 1:
        print(f"{name} must have the text {text!r} once, for a fault to be planted there", file=sys.stderr)
        return 1
    for path, wanted in ((ROOT / "golden", False), (planted, True)):
        source.write_text(before.replace(text, instead))
        done = subprocess.run(
            [*fixed, sys.executable, "-c", PROGRAM],
            env=environment | {"PYTHONPATH": str(path)},
            capture_output=True,
            text=True,
        )
        found = done.returncode != 0 and says in done.stderr
        if found != wanted or (not wanted and done.returncode):
            print(done.stderr[-4000:], file=sys.stderr)
            print(
                f"the {kind} sanitizer must {'' if wanted else 'not '}find {says!r} in {path}",
                file=sys.stderr,
            )
            return 1
    print(f"{kind}: the planted fault was found ({says})", flush=True)
    # What a sanitizer says comes from C, and pytest would keep it to itself.
    options_of_pytest = ("-p", "no:cacheprovider", "-q", "--capture=sys")
    command = [sys.executable, "-m", "pytest", *options_of_pytest, *(arguments or TESTS)]
    return subprocess.run([*fixed, *command], cwd=ROOT, env=environment).returncode


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
