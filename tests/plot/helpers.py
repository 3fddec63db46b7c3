"""What tests read from a picture."""

import matplotlib as mpl
import numpy as np
import pytest


def marks(ax):
    """Label -> data coordinates of every mark on axes and in their insets."""
    found = {}
    for each in (ax, *ax.child_axes):
        for artist in each.collections:
            offsets = artist.get_offsets()
            if len(offsets) and not artist.get_label().startswith("_"):
                found.setdefault(artist.get_label(), tuple(np.asarray(offsets[0], dtype=float)))
    return found


def texts(figure):
    return [text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_text() and text.get_visible()]


def near(place, tolerance=1e-6):
    return pytest.approx(tuple(float(value) for value in place), abs=tolerance)
