"""What ends a command badly is told in one line, and by the exit status."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import typer

from egret.cli import main as module
from egret.cli.main import main
from egru.errors import EgretError
from egru.processes import Terminated

EGRET = [sys.executable, "-m", "egret"]


def told(capsys, status, arguments=("doctor",)):
    assert main([str(a) for a in arguments]) == status
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err and shown.err.count("\n") == 1
    return shown.err


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (EgretError("two\nlines"), 2, "egret: two lines"),
        (OSError(28, "No space left on device", "/x/y"), 2, "No space left on device: /x/y (free some"),
        (PermissionError(13, "Permission denied", b"/x/\xff"), 2, "Permission denied: /x/\\udcff"),
        (OSError("10 requested and 3 written"), 2, "10 requested and 3 written"),
        (MemoryError(), 2, "not enough memory"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            2,
            "enough memory",
        ),
        (KeyboardInterrupt(), 130, "egret: interrupted"),
        (Terminated(signal.SIGTERM), 143, "egret: interrupted"),
    ],
)
def test_what_happens_in_a_command_becomes_one_line_and_a_status(monkeypatch, capsys, error, status, words):
    def fail():
        raise error

    monkeypatch.setattr(module, "app", typer.Typer())
    module.app.command(name="doctor")(fail)
    module.app.command(name="other")(lambda: None)
    assert words in told(capsys, status)


def test_a_fault_of_ours_is_not_hidden(monkeypatch):
    def fail():
        raise RuntimeError("a bug")

    monkeypatch.setattr(module, "app", typer.Typer())
    module.app.command(name="doctor")(fail)
    module.app.command(name="other")(lambda: None)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["doctor"])


def shell(script, **options):
    words = ["bash", "-c", f'EGRET="{sys.executable} -m egret"; {script}']
    return subprocess.run(words, capture_output=True, text=True, **options)


@pytest.mark.parametrize(
    ("script", "status", "words"),
    [
        ("$EGRET --version > /dev/full", 2, "egret: No space left on device"),
        ("$EGRET formal --list > /dev/full", 2, "egret: No space left on device"),
        ("{ sleep 1; $EGRET --version; echo $? >&2; } | true", 0, "141"),
        ("{ sleep 1; $EGRET formal --list; echo $? >&2; } | true", 0, "141"),
        ("$EGRET --version >&-", 0, ""),
        ("$EGRET generate no -o out 2>&-", 2, ""),
        ("$EGRET generate no -o out 2>/dev/full", 2, ""),
        ("LC_ALL=C PYTHONIOENCODING=ascii $EGRET generate é -o out", 2, "egret: \\xe9: cannot be read"),
        ("LC_ALL=C PYTHONIOENCODING=ascii $EGRET formal --list", 0, ""),
        ("mkdir gone; cd gone; rmdir ../gone; $EGRET plan", 2, "the folder that you are in was removed"),
        (
            "mkdir gone; cd gone; rmdir ../gone; $EGRET train digits",
            2,
            "the folder that you are in was removed",
        ),
        ("$EGRET train digits --units 70000000 -o x", 2, "egret: there is not enough memory"),
    ],
)
def test_a_place_that_is_full_closed_or_gone_gets_a_short_answer(tmp_path, script, status, words):
    done = shell(script, cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    assert words in done.stderr and done.stderr.count("\n") <= 1
    assert "out" not in os.listdir(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("where", ["main thread", "thread", "process"])
def test_a_signal_to_the_command_alone_ends_all_that_it_started(tmp_path, number, where):
    """The program that runs has a child of its own, as make has compilers."""
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(f"""
            import sys
            from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
            import multiprocessing
            import typer
            from egret.cli import main as module
            from egru import processes

            def work(_=0):
                script = "sleep 1000 & echo $! > part; mv part inner; wait"
                processes.run(["sh", "-c", script], capture_output=True, cwd={str(tmp_path)!r})

            def fail():
                if {where!r} == "main thread":
                    work()
                elif {where!r} == "thread":
                    with ThreadPoolExecutor(1) as pool:
                        list(pool.map(work, range(3)))
                else:
                    with ProcessPoolExecutor(1, initializer=processes.end_worker_on_signals) as pool:
                        try:
                            pool.submit(work).result()
                        except BaseException:
                            for worker in multiprocessing.active_children():
                                worker.terminate()
                            raise

            module.app = typer.Typer()
            module.app.command(name="doctor")(fail)
            module.app.command(name="other")(lambda: None)
            if __name__ == "__main__":
                sys.exit(module.main(["doctor"]))
            """)
    )
    inner = tmp_path / "inner"
    with subprocess.Popen([sys.executable, program], stderr=subprocess.PIPE, text=True) as process:
        while not inner.exists():
            assert process.poll() is None
            time.sleep(0.02)
        os.kill(process.pid, number)
        _, said = process.communicate()
    assert process.returncode == 128 + number
    assert said == "egret: interrupted\n"
    child = Path(f"/proc/{inner.read_text().strip()}/stat")
    for _ in range(500):  # it ends after its signal, in its own time
        if not child.exists() or child.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.02)
    raise AssertionError("the child of the program still runs")


@pytest.mark.parametrize(
    "arguments",
    [
        ["simulate", "--seed", "2147483648"],
        ["sim-full", "--seed", "99999999999"],
        ["sim-netlist", "--seed", "-1"],
        ["bitstream", "none", "-o", "out", "--seed", "4294967296"],
        ["bench", "--seed", "2147483648"],
        ["bench-fpga", "--seeds", "1,2147483648"],
        ["faults", "--seed", "2147483648"],
        ["mutate", "--seed", "9" * 30],
        ["plan", "--seed", "2147483648"],
        ["fuzz", "--seed", "9223372036854775808"],
        ["train", "digits", "--seed", "9223372036854775808"],
        ["import", "gru", "none", "--seed", "9223372036854775808"],
        ["seeds", "digits", "--seeds", "9223372036854775808"],
    ],
)
def test_a_seed_out_of_range_is_refused_first(capsys, arguments):
    assert "seed must be " in told(capsys, 2, arguments)


@pytest.mark.parametrize("number", ["１６", "1_6", "+16", "1e1", "0x10", "16.0", "٣", ""])
@pytest.mark.parametrize(
    "command",
    [
        ["generate", "x", "-o", "y", "--lanes"],
        ["generate", "x", "-o", "y", "--queue-depth"],
        ["train", "digits", "--units"],
        ["seeds", "digits", "--seeds"],
        ["simulate", "--samples"],
        ["fuzz", "--seed"],
        ["quantize", "x", "--weight-bits"],
    ],
)
def test_numbers_have_the_digits_0_to_9(tmp_path, monkeypatch, capsys, command, number):
    monkeypatch.chdir(tmp_path)
    if command[0] == "generate":
        from egret import networks

        Path("x").write_bytes(networks.shipped("digits").read_bytes())
    text = told(capsys, 2, [*command, number])
    assert "number" in text or "integer" in text or "digits 0 to 9" in text
    assert not Path("y").exists()
