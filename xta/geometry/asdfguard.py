"""Check the ASDF content of a WCS before asdf reads it, so that an untrusted file opens no other and stays small.

ASDF can refer to other files and addresses, and a few bytes of it can expand to gigabytes. Only the nodes of
the WCS and the blocks that they use are passed on to asdf, after they have been checked.
"""

import bz2
import math
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from xta.errors import WCSError

__all__ = ["MAX_CONTENT", "Checked", "check", "child", "wcs_only"]

Node: TypeAlias = Any
"""A node of YAML, of a library without types."""

MAX_CONTENT = 1 << 28  # [byte] in the ASDF extension with all blocks; the largest known has 0.9 MB
MAX_YAML = 1 << 21  # [byte] the largest known has 56 kB
MAX_NODES = 200_000  # nodes of the WCS, with a shared one counted each time; 2,000 are usual
MAX_DEPTH = 200  # levels of nested nodes; 40 are usual
MAX_TEXT = 10_000  # characters in one value
MAX_WHOLE = 100_000  # largest integer outside arrays: numbers of axes, and pixels
MAX_ELEMENTS = 1 << 22  # elements of one array
MAX_UNPACKED = 1 << 26  # [byte] in all blocks that the WCS uses
MAX_BLOCKS = 10_000
MAX_DEGREE = 20  # degree of a polynomial; 5 is usual, and the pipeline fits at most 9

YAML = "tag:yaml.org,2002:"
PLAIN = {YAML + name for name in ("str", "int", "float", "bool", "null", "map", "seq", "timestamp")}
TAGS = ("asdf/transform/", "asdf/unit/", "asdf/time/", "gwcs/", "jwst_pipeline/")
KNOWN = (*(f"tag:stsci.edu:{name}" for name in TAGS), "tag:astropy.org:astropy/")
"""Prefixes of the tags in a WCS; `jwst_pipeline` are the transforms of spectrographs, which are refused later."""

NDARRAY = "tag:stsci.edu:asdf/core/ndarray-"
ARRAY_KEYS = {"source", "data", "shape", "datatype", "byteorder", "offset", "strides"}
TYPES = {"bool8": "?"} | {f"{kind}int{8 * size}": f"{kind or 'i'}{size}" for kind in ("", "u") for size in (1, 2, 4, 8)}
TYPES |= {"float32": "f4", "float64": "f8"}
ORDERS = {"big": ">", "little": "<"}

MAGIC = b"\xd3BLK"
HEADER = struct.Struct(">I4sQQQ16s")
"""Header of a block, after its magic and its size: flags, compression, allocated, used and data size, checksum."""


@dataclass(frozen=True)
class Checked:
    """The WCS of ASDF content: its node, the arrays in blocks by the ``id`` of their nodes, head and blocks."""

    node: Node
    arrays: dict[int, NDArray[Any]]
    head: bytes
    blocks: "_Blocks"


def check(content: bytes) -> Checked:
    """Find the WCS in ASDF content, and check it.

    Parameters
    ----------
    content : bytes
        A complete ASDF file: ``wcs``, or ``meta.wcs`` of a product, and the blocks after it.

    Raises
    ------
    WCSError
        If there is no WCS, or the WCS refers to anything outside the content, has tags that do not belong to a WCS, is
        larger or deeper than any real one, or has coefficients that are not finite.

    References
    ----------
    The layout of a file and its blocks: https://www.asdf-format.org/projects/asdf-standard/en/latest/file_layout.html
    """
    if len(content) > MAX_CONTENT:
        _refuse(f"it has {len(content)} bytes, more than {MAX_CONTENT}")
    end = re.search(rb"\r?\n\.\.\.(?:\r?\n|$)", content[: MAX_YAML + 8])
    text = content[: end.end() if end else len(content)]
    if len(text) > MAX_YAML:
        _refuse(f"its YAML has more than {MAX_YAML} bytes")
    if not text.startswith(b"#ASDF "):
        _refuse("it does not begin with #ASDF")
    root = _compose(text)
    node = child(root, "wcs") or child(child(root, "meta"), "wcs")
    if node is None:
        _refuse("it has neither wcs nor meta.wcs; use a product on which assign_wcs has run")
    _measure(node, 0, {})
    blocks = _Blocks(content[len(text) :])
    _check(node, blocks)
    head = b"\n".join([*text.splitlines()[:1], *re.findall(rb"^#ASDF_STANDARD .*", text, re.MULTILINE)[:1]])
    return Checked(node, blocks.arrays, head, blocks)


def wcs_only(checked: Checked) -> bytes:
    """Write the checked content as an ASDF file with ``wcs`` and the blocks that it uses, unpacked."""
    import yaml  # type: ignore[import-untyped]

    tree = yaml.MappingNode(YAML + "map", [(yaml.ScalarNode(YAML + "str", "wcs"), checked.node)])
    tree.tag = "tag:stsci.edu:asdf/core/asdf-1.1.0"
    body = yaml.serialize(tree, Dumper=_yaml("Dumper"), encoding="utf-8", explicit_start=True, version=(1, 1))
    return checked.head + b"\n" + bytes(body) + b"...\n" + checked.blocks.written()


def _refuse(what: str) -> NoReturn:
    msg = f"the ASDF content is refused: {what}"
    raise WCSError(msg)


@lru_cache(maxsize=2)
def _yaml(name: str) -> Any:
    """Return the safe loader or dumper of libyaml, which asdf uses, too, or else that of Python."""
    import yaml

    return getattr(yaml, f"CSafe{name}", None) or getattr(yaml, f"Safe{name}")


def _compose(text: bytes) -> Node:
    """Parse YAML to nodes, without making objects from them."""
    import yaml

    try:
        return yaml.compose(text, Loader=_yaml("Loader"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        msg = f"the ASDF content cannot be read ({type(error).__name__}: {error})"
        raise WCSError(msg) from error


def _pairs(node: Node) -> Iterator[tuple[str, Node]]:
    """Yield the items of a mapping; nothing for other nodes."""
    if getattr(node, "id", "") == "mapping":
        yield from ((key.value if key.id == "scalar" else "", value) for key, value in node.value)


def child(node: Node, name: str) -> Node:
    """Return the value of a key of a mapping; None if there is none."""
    return dict(_pairs(node)).get(name)


def _measure(node: Node, depth: int, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """Count the nodes of a tree and measure its height; a shared node is counted each time it is used."""
    if id(node) in known:
        return known[id(node)]
    if depth > MAX_DEPTH:
        _refuse(f"its WCS has more than {MAX_DEPTH} levels, or contains itself")
    count, height = 1, 1
    if node.id != "scalar":
        parts = node.value if node.id == "sequence" else [part for pair in node.value for part in pair]
        for part in parts:
            size, levels = _measure(part, depth + 1, known)
            count, height = count + size, max(height, levels + 1)
    if count > MAX_NODES or height > MAX_DEPTH:
        _refuse(f"its WCS has more than {MAX_NODES} nodes or {MAX_DEPTH} levels")
    known[id(node)] = count, height
    return count, height


def _check(root: Node, blocks: "_Blocks") -> None:
    """Check each node once: its tag, its keys and its value."""
    waiting, seen = [(root, False)], set()
    while waiting:
        node, unbounded = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if node.tag.startswith(NDARRAY):
            _check_array(node, blocks)
        elif node.tag not in PLAIN and not node.tag.startswith(KNOWN):
            _refuse(f"its WCS has the tag {node.tag!r:.80}, which does not belong to the WCS of an image")
        if node.id == "scalar":
            _check_value(node, unbounded)
        elif node.id == "sequence":
            waiting += [(part, unbounded) for part in node.value]
        elif not node.tag.startswith(NDARRAY):
            waiting += [part for pair in node.value for part in _parts(node, *pair)]
        else:
            waiting += [(part, unbounded) for key, part in _pairs(node) if key == "data"]


def _parts(owner: Node, key: Node, value: Node) -> list[tuple[Node, bool]]:
    """Check the key of a mapping; return the nodes to check next, and whether they may be infinite."""
    name = key.value if key.id == "scalar" and key.tag == YAML + "str" else None
    if name is None or name in {"$ref", "source"}:
        _refuse(f"its WCS has the key {key.value!r:.80}; references and keys that are not text are not read")
    if name == "coefficients" and "polynomial" in owner.tag:
        worst = max(_lengths(value), default=0)
        if worst > MAX_DEGREE + 1:
            _refuse(f"a polynomial has {worst} coefficients along an axis, more than {MAX_DEGREE + 1}")
    return [(key, False), (value, name == "bounding_box")]


def _lengths(node: Node) -> Iterator[int]:
    """Yield the lengths of an array and of its rows, both the declared and the actual ones."""
    if node.id == "sequence":
        yield len(node.value)
        for row in node.value:
            yield from _lengths(row)
    for name, part in _pairs(node):
        if name == "shape":
            yield from _numbers(part, name)
        elif name == "data":
            yield from _lengths(part)


def _check_value(node: Node, unbounded: bool) -> None:
    if len(node.value) > MAX_TEXT:
        _refuse(f"its WCS has a value of {len(node.value)} characters")
    if node.tag == YAML + "float" and not unbounded and not _finite(node.value):
        _refuse(f"its WCS has the coefficient {node.value}, which is not finite")
    if node.tag == YAML + "int" and abs(_whole(node)) > MAX_WHOLE:
        _refuse(f"its WCS has the whole number {node.value:.40}, larger than {MAX_WHOLE}")
    if "unit/unit-" in node.tag and re.search(r"\d{4}|^.{200}|\*\*.*\*\*", node.value):
        _refuse(f"its WCS has the unit {node.value!r:.80}")


def _finite(text: str) -> bool:
    """Return True if a number is finite; a number in a form that only YAML has is."""
    try:
        return math.isfinite(float(text.replace("_", "")))
    except ValueError:
        return re.search(r"\.(?:nan|inf)$", text.lower()) is None


def _whole(node: Node) -> int:
    """Read an integer of at least 0; return a negative number for anything else."""
    text = node.value if node.id == "scalar" and node.tag == YAML + "int" else ""
    if re.fullmatch(r"[-+]?(?:0|[1-9]\d{0,15})", text):
        return int(text)
    return -1 if not text else 1 << 62


def _numbers(node: Node, name: str) -> list[int]:
    values = [_whole(part) for part in node.value] if node.id == "sequence" else [-1]
    if name == "shape" and (min(values, default=0) < 0 or math.prod(values) > MAX_ELEMENTS):
        _refuse(f"an array declares the shape {values!s:.80}; at most {MAX_ELEMENTS} elements are read")
    return values


def _check_array(node: Node, blocks: "_Blocks") -> None:
    """Check the place and size of an array, and that its numbers are finite if they are in a block."""
    parts = dict(_pairs(node))
    if node.id == "sequence":
        return
    if node.id == "scalar" or set(parts) - ARRAY_KEYS or len(parts) != len(node.value) or "$ref" in parts:
        _refuse(f"an array has the keys {sorted(parts)!s:.80}")
    kind = TYPES.get(parts["datatype"].value) if "datatype" in parts and parts["datatype"].id == "scalar" else ""
    if kind is None or ("datatype" in parts and not kind):
        _refuse("an array has a datatype that is not numeric")
    shape = _numbers(parts["shape"], "shape") if "shape" in parts else None
    if "source" not in parts:
        if "data" not in parts or parts["data"].id != "sequence":
            _refuse("an array contains no list of numbers")
        return
    if "data" in parts or _whole(parts["source"]) < 0:
        _refuse(f"an array refers to {parts['source'].value!r:.80}, which is not in the same file")
    if shape is None or not kind or "byteorder" not in parts or parts["byteorder"].value not in ORDERS:
        _refuse("an array has no shape, datatype or byte order")
    _check_block(node, parts, shape, ORDERS[parts["byteorder"].value] + str(kind), blocks)


def _check_block(node: Node, parts: dict[str, Node], shape: Any, kind: str, blocks: "_Blocks") -> None:
    offset = _whole(parts["offset"]) if "offset" in parts else 0
    strides = _numbers(parts["strides"], "strides") if "strides" in parts else None
    number, data = blocks.use(_whole(parts["source"]))
    try:
        values = np.ndarray(tuple(shape), kind, data, offset, strides)
    except (ValueError, TypeError, OverflowError) as error:
        _refuse(f"an array does not fit into its block of {len(data)} bytes ({error})")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        _refuse("an array of its WCS has values that are not finite")
    parts["source"].value = str(number)
    blocks.arrays[id(node)] = values


class _Blocks:
    """The binary blocks of an ASDF file, and those that are used."""

    def __init__(self, data: bytes) -> None:
        self._found = list(_blocks(data))
        self._used: dict[int, bytes] = {}
        self.arrays: dict[int, NDArray[Any]] = {}

    def use(self, source: int) -> tuple[int, bytes]:
        """Unpack a block; return its number among those used, and its bytes."""
        if source >= len(self._found):
            _refuse(f"an array refers to block {source} of {len(self._found)}")
        if source not in self._used:
            left = MAX_UNPACKED - sum(map(len, self._used.values()))
            self._used[source] = _unpacked(*self._found[source], left)
        return list(self._used).index(source), self._used[source]

    def written(self) -> bytes:
        """Return the used blocks as bytes, not compressed."""
        sizes = [len(data) for data in self._used.values()]
        heads = [HEADER.pack(0, b"\0" * 4, size, size, size, b"\0" * 16) for size in sizes]
        start = MAGIC + struct.pack(">H", HEADER.size)
        return b"".join(start + head + data for head, data in zip(heads, self._used.values(), strict=True))


def _blocks(data: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    """Yield compression, unpacked size, and the packed bytes of each block; an incomplete block is left out."""
    place = max(data.find(MAGIC), 0)
    for _ in range(MAX_BLOCKS):
        body = place + len(MAGIC) + 2
        if data[place : place + len(MAGIC)] != MAGIC or body + HEADER.size > len(data):
            return
        (size,) = struct.unpack(">H", data[body - 2 : body])
        flags, compression, allocated, used, unpacked, _ = HEADER.unpack_from(data, body)
        place = body + size + allocated
        if flags or size < HEADER.size or used > allocated or place > len(data):
            return
        yield compression, unpacked, data[body + size : body + size + used]


def _unpacked(compression: bytes, size: int, data: bytes, limit: int) -> bytes:
    """Unpack a block, up to its declared size and no further."""
    if size > limit:
        _refuse(f"its blocks declare {size} bytes; at most {MAX_UNPACKED} are read")
    unpack: dict[bytes, Callable[[], bytes]] = {
        b"\0" * 4: lambda: data,
        b"zlib": lambda: zlib.decompressobj().decompress(data, size + 1),
        b"bzp2": lambda: bz2.BZ2Decompressor().decompress(data, size + 1),
    }
    if compression not in unpack:
        _refuse(f"a block is compressed by {compression!r}; only zlib and bzp2 are read")
    try:
        result = unpack[compression]()
    except (zlib.error, OSError, ValueError, EOFError) as error:
        _refuse(f"a block cannot be unpacked ({error})")
    if len(result) != size:
        _refuse(f"a block does not unpack to the {size} bytes that it declares")
    return result
