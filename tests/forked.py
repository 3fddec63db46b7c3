"""Programs that begin where xta and its libraries are imported already, so that a test can run hundreds of them.

Each is forked by a process that has imported `tests.warm`.
"""

import faulthandler
import multiprocessing
import os
import signal
import time
from contextlib import contextmanager, suppress
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.warm"])


class Program:
    """A program that runs: what it wrote is in the file `said`."""

    def __init__(self, process, said):
        self.process, self.said = process, said

    def signal(self, number):
        """Send a signal; an interrupt goes to all processes of the program, as from the keyboard."""
        with suppress(ProcessLookupError):  # it has ended
            (os.killpg if number == signal.SIGINT else os.kill)(self.process.pid, number)

    def end(self, limit):
        """Wait [s] for the end of the program and of all processes that it started; return its exit code."""
        end = time.monotonic() + limit
        self.process.join(limit)
        if self.process.exitcode is None:
            os.kill(self.process.pid, signal.SIGUSR1)
            time.sleep(0.5)
            msg = f"runs after {limit} s: {self.output()}"
            raise AssertionError(msg)
        while left := members(self.process.pid):
            assert time.monotonic() < end, f"processes run after {limit} s: {left}"
            time.sleep(0.02)
        return self.process.exitcode

    def output(self):
        return self.said.read_text(errors="replace")


@contextmanager
def started(work, *arguments, said, **environment):
    """Start ``work(*arguments)`` in a process of its own, and wait until its imports are done."""
    ours, theirs = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_run, args=(work, arguments, said, environment, theirs))
    process.start()
    theirs.close()
    program = Program(process, said)
    try:
        ours.recv_bytes()
        yield program
    finally:
        ours.close()
        for member in members(process.pid):
            os.kill(member, signal.SIGKILL)
        process.join()
        process.close()


def members(group):
    """List the processes of a group that run: one that ended and was not waited for is none."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:  # ended meanwhile
            continue
        if int(its_group) == group and state not in "ZX":
            found.append(int(path.parent.name))
    return found


def _run(work, arguments, said, environment, ready):
    os.setpgid(0, 0)
    os.environ.update(environment)
    for name in ("MAST_API_TOKEN", "XTA_EDB_URL"):
        os.environ.pop(name, None)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    faulthandler.register(signal.SIGUSR1)  # writes what all threads do
    ready.send_bytes(b"ready")
    ready.close()
    work(*arguments)


def command(*arguments):
    """Run the command ``xta``."""
    from xta.cli import main

    main([str(argument) for argument in arguments], prog_name="xta")
