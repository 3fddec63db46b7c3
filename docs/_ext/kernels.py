"""Start Jupyter kernels by forking one process that has imported everything and has analysed an exposure once.

Imports and first use are most of the work of a short page; so they are done once for the whole build.
``conf.py`` starts the server; Jupyter starts ``python kernels.py CONNECTION_FILE`` for each page, which
asks the server for a kernel and ends when that does.
"""

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

ADDRESS = "XTA_DOCS_KERNELS"
"""Environment variable with the path of the server's socket."""

HEAVY = ("ipykernel.kernelapp", "jwst.datamodels", "matplotlib.pyplot", "photutils.psf", "netCDF4", "dask.array")


def start(folder):
    """Start the server, and point Jupyter to it. Gives the server's process, for `stop`."""
    address = Path(folder, "kernels.sock")
    spec = Path(folder, "jupyter", "kernels", "python3", "kernel.json")
    spec.parent.mkdir(parents=True)
    argv = [sys.executable, str(Path(__file__).resolve()), "{connection_file}"]
    spec.write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}))
    os.environ |= {ADDRESS: str(address), "JUPYTER_PATH": str(spec.parents[2])}
    backend = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen()
        return subprocess.Popen(
            [*argv[:2], "--serve", str(listener.fileno())], env=os.environ | backend, pass_fds=[listener.fileno()]
        )


def serve(descriptor):
    """Import and warm up, then fork a kernel for each connection."""
    warm_up()
    signal.signal(signal.SIGCHLD, reap)
    with socket.socket(fileno=descriptor) as listener:
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                listener.close()
                run(connection)
            connection.close()


def reap(*_):
    """Take leave of kernels that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def stop(server):
    """End the server."""
    server.terminate()
    server.wait()


def warm_up():
    """Import what pages use, and fill the caches of the SIAF and of asdf."""
    for name in (
        "ipykernel.kernelapp",
        "jwst.datamodels",
        "matplotlib.pyplot",
        "photutils.psf",
        "netCDF4",
        "dask.array",
    ):
        importlib.import_module(name)
    import xta

    sample = Path(os.environ["XTA_DOCS_SAMPLE"])
    xta.analyze(next(sample.glob("*_calints.fits"))).ta.estimates()


def run(connection):
    """Be a kernel until it is shut down, or until its client is gone."""
    from ipykernel.kernelapp import IPKernelApp

    asked = json.loads(connection.makefile().readline())

    def watch():
        connection.recv(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    os.chdir(asked["folder"])
    try:
        IPKernelApp.launch_instance(argv=["-f", asked["file"], f"--IPKernelApp.parent_handle={os.getppid()}"])
    finally:
        os._exit(0)


def ask(file):
    """Ask the server for a kernel, and wait for its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.environ[ADDRESS])
        connection.sendall((json.dumps({"file": file, "folder": str(Path.cwd())}) + "\n").encode())
        connection.recv(1)


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(int(sys.argv[2]))
    else:
        ask(sys.argv[1])
