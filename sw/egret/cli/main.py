"""The `egret` command.

Exit status: 0 when all is well; 1 when what was asked for came out wrong (a mismatch, a missing tool);
2 for a request that cannot be met, be it for want of disk or memory, with one line that says why;
128 and the number of a signal that ended it: 130 for an interrupt, 141 when nobody reads what is printed.
"""

import contextlib
import errno
import inspect
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, get_args, get_type_hints

import typer

from egret import __version__
from egret.cli import (
    bench,
    bench_fpga,
    bench_train,
    bitstream,
    doctor,
    evaluate,
    faults,
    formal,
    frontier,
    fuzz,
    generate,
    interop,
    mutate,
    plan,
    prune,
    quantize,
    seeds,
    sim_full,
    sim_netlist,
    simulate,
    statistics,
    summary,
    timing,
    train,
    weights,
    widths,
)
from egret.console import complain
from egru.errors import EgretError
from egru.processes import Terminated, ended_by_signals

app = typer.Typer(
    name="egret",
    help="Event-based GRUs on open FPGAs: train, quantise, simulate bit for bit, build a bitstream.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _command in (
    train.train,
    quantize.quantize,
    widths.widths,
    prune.prune,
    frontier.frontier,
    evaluate.evaluate,
    seeds.seeds,
    statistics.statistics,
    generate.generate,
    simulate.simulate,
    sim_netlist.sim_netlist,
    mutate.mutate,
    sim_full.sim_full,
    fuzz.fuzz,
    formal.formal,
    bitstream.bitstream,
    weights.weights,
    summary.summary,
    timing.timing,
    plan.plan,
    bench.bench,
    bench_fpga.bench_fpga,
    faults.faults,
    bench_train.bench_train,
    interop.export,
    doctor.doctor,
):
    app.command()(_command)
app.command(name="import")(interop.import_network)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"egret {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    with ended_by_signals(), _any_text():
        try:
            status = _run(sys.argv[1:] if arguments is None else arguments)
            _flush()
        except (EgretError, typer.TyperException) as error:
            text = error.format_message() if isinstance(error, typer.TyperException) else str(error)
            if text := " ".join(text.split()):
                complain(text)
            status = 2
        except (KeyboardInterrupt, typer.Abort) as error:
            complain("interrupted")
            status = 128 + (error.signal if isinstance(error, Terminated) else signal.SIGINT)
        except BrokenPipeError:
            _drop_output()
            status = 128 + signal.SIGPIPE
        except OSError as error:
            _drop_output()
            complain(_system_error(error))
            status = 2
        except (MemoryError, RuntimeError) as error:
            if not _for_want_of_memory(error):
                raise
            complain("there is not enough memory for this: make it smaller, or close other programs")
            status = 2
    return status


def _run(arguments: Sequence[str]) -> int:
    if any("\0" in argument for argument in arguments):
        raise EgretError("arguments must not hold the character NUL")
    try:
        os.getcwd()
    except OSError:
        raise EgretError("the folder that you are in was removed: go to another one") from None
    command = typer.main.get_command(app)
    _take_plain_numbers(command)
    try:
        with command.make_context("egret", list(arguments)) as context:
            command.invoke(context)
    except typer.Exit as done:
        return done.exit_code
    return 0


#: Numbers in the digits 0 to 9; Python, and so Typer, would also take 1_0, and digits of other scripts.
_PLAIN = {
    int: (re.compile(r"[+-]?[0-9]+"), "a whole number in the digits 0 to 9"),
    float: (
        re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"),
        "a number in the digits 0 to 9",
    ),
}


def _take_plain_numbers(group: Any) -> None:
    """Let the options of all commands refuse other numbers than those of :data:`_PLAIN`."""
    for command in group.commands.values():
        hints = get_type_hints(inspect.unwrap(command.callback))
        for option in command.params:
            hint = hints.get(option.name)
            for kind, (pattern, words) in _PLAIN.items():
                if kind in (hint, *get_args(hint)):
                    option.process_value = _plain(option, pattern, words)


def _plain(option: Any, pattern: re.Pattern[str], words: str) -> Callable[[Any, Any], Any]:
    process = option.process_value

    def check(context: Any, value: Any) -> Any:
        if isinstance(value, str) and not pattern.fullmatch(value):
            raise EgretError(f"{option.opts[-1]} must be {words}, not {value!r}")
        return process(context, value)

    return check


@contextlib.contextmanager
def _any_text() -> Iterator[None]:
    """Let a terminal of few characters show the others as escapes."""
    before = {}
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            before[stream] = stream.errors
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        for stream, errors in before.items():
            with contextlib.suppress(OSError, ValueError):  # what is left cannot be printed either
                stream.reconfigure(errors=errors)


def _flush() -> None:
    """Print what is left, while one can still say that it fails."""
    if sys.stdout is not None:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OSError(error.errno, error.strerror, "standard output") from None


def _drop_output() -> None:
    """Let go of what standard output still holds, which the end of Python would try to print again."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)


def _system_error(error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    where = f": {os.fsdecode(error.filename)}" if isinstance(error.filename, str | bytes) else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = where or " for what is printed, or on the disk"
        where += " (free some, or let TMPDIR or EGRET_BUILD name a folder elsewhere)"
    return f"{reason}{where}"


def _for_want_of_memory(error: Exception) -> bool:
    """Whether it is that: PyTorch says so in words alone."""
    signs = (
        "out of memory",
        "can't allocate memory",
        "not enough memory",
        "Storage size calculation overflowed",
    )
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in signs)


if __name__ == "__main__":
    sys.exit(main())
