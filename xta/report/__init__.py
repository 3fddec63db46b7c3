"""Write reports to attach to an e-mail: one self-contained HTML page per exposure, and an index of many.

A page contains its pictures, data, style and script. It loads nothing from the network, which its content security
policy also forbids. Importing this package does not import matplotlib.
"""

from xta.report.visits import index, report

__all__ = ["index", "report"]
