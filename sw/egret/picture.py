"""Pictures as SVG that come out the same, byte for byte, for the same figures."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from egru.errors import EgretError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, in inches; raises EgretError without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise EgretError("the picture needs matplotlib: pip install 'egret-hdl[bench]'") from None
    return Figure(figsize=(width, height), layout="constrained")


def svg(figure: Figure) -> bytes:
    """Return a figure as SVG, its text as text, without a date."""
    import matplotlib

    data = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "egret", "svg.fonttype": "none"}):
        figure.savefig(data, format="svg", metadata={"Date": None})
    return data.getvalue()
