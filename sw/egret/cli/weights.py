"""`egret weights`: weights for a board whose bitstream loads them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from egret.console import Console

from .options import QueueDepth, ReadoutLanes, UpdateLanes, accelerator_config


def weights(
    image: Annotated[Path, typer.Argument(help="Network image whose weights are to be loaded.")],
    built: Annotated[Path, typer.Option(help="Network image that the bitstream was built for.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File for the bytes that a host sends.")],
    board: Annotated[str, typer.Option(help="Board of the bitstream.")] = "icebreaker",
    lanes: Annotated[str | None, typer.Option(help="Lanes of the bitstream, by default the board's.")] = None,
    update_lanes: UpdateLanes = None,
    readout_lanes: ReadoutLanes = None,
    queue_depth: QueueDepth = None,
) -> None:
    """Write the weights of another network for a bitstream, or say what of it the hardware has no room for.

    The options are those that the bitstream was built with. Only the layers' weights may differ.
    """
    from egret.build.boards import board_named
    from egret_hw.link_protocol import encode_weights
    from egret_hw.loading import loaded_words, word_bytes
    from egru.image import load_image
    from egru.writing import check_output, write_whole

    check_output(output, image, built)
    chosen = board_named(board)
    config = accelerator_config(
        lanes or str(chosen.lanes),
        update_lanes,
        readout_lanes,
        queue_depth,
        weights=chosen.weights,
        compact=chosen.compact,
    )
    network = load_image(built)
    words = loaded_words(network, config, load_image(image))
    tokens, _ = encode_weights(words, word_bytes=word_bytes(network, config))
    write_whole(output, tokens)
    Console().print(f"wrote {output}: {sum(map(len, words))} words of weights", soft_wrap=True)
