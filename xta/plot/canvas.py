"""The class of the figures of this package. Imports matplotlib: to be imported by functions only."""

import io
import os
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from xta.plot.style import STYLE, VECTOR_DPI

__all__ = ["Page"]


class Page(Figure):
    """A figure that needs no pyplot to be saved or to be shown in a notebook, and that is ready for print."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        FigureCanvasAgg(self)

    def savefig(self, fname: Any, **kwargs: Any) -> None:
        """Save as `Figure.savefig` does, with TrueType fonts in a PDF, and sharp images in it or in an SVG."""
        name = kwargs.get("format") or (Path(fname).suffix if isinstance(fname, str | os.PathLike) else "")
        if name.lower().removeprefix(".") in {"pdf", "svg", "eps", "ps"}:
            kwargs = {"dpi": VECTOR_DPI} | kwargs
        with mpl.rc_context({"pdf.fonttype": STYLE["pdf.fonttype"]}):
            super().savefig(fname, **kwargs)

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()
