"""The figures of this package. Imports matplotlib: to be imported by functions only."""

import io
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from xta.plot.style import STYLE

__all__ = ["Page"]


class Page(Figure):
    """A figure that needs no pyplot to be saved or to be shown in a notebook, and that is ready for print."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        FigureCanvasAgg(self)

    def savefig(self, fname: Any, **kwargs: Any) -> None:
        """Save as `Figure.savefig` does, with the fonts of a PDF embedded as TrueType."""
        with mpl.rc_context({"pdf.fonttype": STYLE["pdf.fonttype"]}):
            super().savefig(fname, **kwargs)

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()
