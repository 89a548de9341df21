"""The `egret` command.

Exit status: 0 when all is well; 1 when what was asked for came out wrong (a mismatch, a missing tool);
2 for a request that cannot be met, with one line that says why.
"""

import sys
from collections.abc import Sequence
from typing import Annotated

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
from egru.errors import EgretError

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
    try:
        status = app(args=arguments, standalone_mode=False)
        return status if isinstance(status, int) else 0
    except (EgretError, typer.TyperException) as error:
        text = error.format_message() if isinstance(error, typer.TyperException) else str(error)
        if text := " ".join(text.split()):
            print(f"egret: {text}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, typer.Abort):
        print("egret: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
