"""Reports to attach to an e-mail: one self-contained HTML page an exposure, and an index of many.

A page holds its pictures, data, style and program. It asks for nothing from elsewhere, and its content security
policy forbids it to. Importing this package does not import matplotlib.
"""

from xta.report.visits import index, report

__all__ = ["index", "report"]
