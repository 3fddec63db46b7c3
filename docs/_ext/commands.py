"""The directive ``commands``: every command of the command line with its options, from the commands themselves."""

import inspect
import re

import click
from tables import Generated, table, title

from xta.cli import main


class Commands(Generated):
    """Describe every command."""

    def lines(self):
        """Write a section for each command, the main one first."""
        for name, command in commands("xta", main):
            yield from title(name)
            yield from entry(name, command)


def commands(name, command):
    """Yield a command and those below it, with the names by which they are called."""
    yield name, command
    for below, each in getattr(command, "commands", {}).items():
        yield from commands(f"{name} {below}", each)


def entry(name, command):
    """Write the usage, the help and the options of a command."""
    context = click.Context(command, info_name=name)
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    yield from (".. code-block:: text", "", f"   {usage}", "")
    text = inspect.cleandoc(command.help or "").replace("`", "``")
    yield from (*re.sub(r"(?<!`)--[a-z]+", r"``\g<0>``", text).splitlines(), "")
    options = [each.get_help_record(context) for each in command.params if isinstance(each, click.Option)]
    breakable = [(names.replace("|", "|\u200b"), text) for names, text in options]  # a long choice may wrap
    if rows := [(f"``{names}``", text.replace("*", "\\*")) for names, text in breakable]:
        yield from table(("option", "meaning"), rows, widths="35 65")


def setup(app):
    """Register the directive."""
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True}
