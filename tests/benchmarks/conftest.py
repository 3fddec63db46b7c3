"""Print the ratios of all benchmarks as one table."""

import json

from tests import speed


def pytest_terminal_summary(terminalreporter):
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    found = [value for report in reports for name, value in getattr(report, "user_properties", ()) if name == "ratio"]
    if not found:
        return
    terminalreporter.section("ratios, in processor time")
    terminalreporter.write_line(speed.HEAD)
    for value in dict.fromkeys(found):
        terminalreporter.write_line(speed.line(json.loads(value)))
