"""New figures: the axes to draw on, in the style of this package."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from xta.plot.style import COLUMN, DPI, STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["drawing"]


@contextmanager
def drawing(ax: "Axes | None", *, height: float = 4.2) -> "Iterator[Axes]":
    """Give the axes to draw on: `ax`, or those of a new pyplot figure in the style of this module.

    A new figure is closed again if the drawing fails.
    """
    if ax is not None:
        yield ax
        return
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    from xta.plot.canvas import Page

    # This loads the backend, whose own settings the context would take back.
    plt.draw_if_interactive()  # type: ignore[no-untyped-call]
    with mpl.rc_context(STYLE):
        figure = plt.figure(FigureClass=Page, figsize=(COLUMN, height), dpi=DPI, layout="compressed")
        try:
            yield figure.add_subplot()
            figure.draw_without_rendering()  # the layout settles with the second drawing
        except BaseException:
            plt.close(figure)
            raise
