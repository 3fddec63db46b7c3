"""Make new figures in the style of this package; import this module only in functions, since it loads matplotlib."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from xta.plot.style import COLUMN, DPI, STYLE, VECTOR_DPI

__all__ = ["Page", "drawing"]


class Page(Figure):
    """A figure ready for print, which can be saved or shown in a notebook without pyplot."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        FigureCanvasAgg(self)

    def savefig(self, fname: Any, **kwargs: Any) -> None:
        """Save like `Figure.savefig`, with TrueType fonts in a PDF, and sharp images in a PDF or SVG."""
        name = kwargs.get("format") or (Path(fname).suffix if isinstance(fname, str | os.PathLike) else "")
        if name.lower().removeprefix(".") in {"pdf", "svg", "eps", "ps"}:
            kwargs = {"dpi": VECTOR_DPI} | kwargs
        with mpl.rc_context({"pdf.fonttype": STYLE["pdf.fonttype"]}):
            super().savefig(fname, **kwargs)

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()


@contextmanager
def drawing(ax: Axes | None, *, height: float = 4.2) -> Iterator[Axes]:
    """Yield the axes to draw on: `ax`, or those of a new pyplot figure, which is closed if the drawing fails."""
    if ax is not None:
        yield ax
        return
    from matplotlib import pyplot as plt

    # This loads the backend, whose own settings the context would take back.
    plt.draw_if_interactive()  # type: ignore[no-untyped-call]
    with mpl.rc_context(STYLE):
        figure = plt.figure(FigureClass=Page, figsize=(COLUMN, height), dpi=DPI, layout="compressed")
        try:
            yield figure.add_subplot()
            figure.draw_without_rendering()  # the layout is final after the second drawing
        except BaseException:
            plt.close(figure)
            raise
