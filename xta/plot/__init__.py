"""Draw an exposure, its acquisition and its results, in the manner of xarray's plot methods.

Each function draws on the given axes, or on new ones, and returns the artists; it does not show the figure.
All data come from the dataset, so a dataset that was reopened from a file works, too. Importing this package
does not import matplotlib.

The gray scale and the inferno map are perceptually uniform. Colors are those of Okabe and Ito [1]_, and
each mark has its own shape. New figures are as wide as a column (3.5 inch) or a page (7.1 inch) of a
journal; save them as PDF for vector graphics, or as PNG with 200 dots per inch.

References
----------
.. [1] M. Okabe, K. Ito, "Color Universal Design", https://jfly.uni-koeln.de/color/ (2008).
"""

from xta.plot.browse import integrations
from xta.plot.centered import klip, recentered
from xta.plot.curves import contrast
from xta.plot.ensembles import monitor, track
from xta.plot.exposures import acquisition, science
from xta.plot.joint import joint
from xta.plot.page import summary
from xta.plot.visits import offsets

__all__ = [
    "acquisition",
    "contrast",
    "integrations",
    "joint",
    "klip",
    "monitor",
    "offsets",
    "recentered",
    "science",
    "summary",
    "track",
]
