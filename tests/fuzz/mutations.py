"""Damage a file where its structure is: cards, blocks, sizes, numbers and brackets, not only bytes anywhere."""

import re
import struct

CARD, BLOCK = 80, 2880
NUMBERS = (
    b"0",
    b"-1",
    b"1",
    b"2147483647",
    b"-2147483648",
    b"99999999999",
    b"1e308",
    b"nan",
    b"inf",
    b"'text'",
    b"T",
    b"",
)
WORDS = (
    b"(",
    b"[",
    b"..",
    b"../../x",
    b"%s",
    b"\0",
    b"\xff\xfe",
    b"[" * 3000,
    b"{$ref: x}",
    b"!core/x {}",
    b"*a",
    b"&a",
)
SIZES = (0, 1, 0x7FFFFFFF, 0xFFFFFFFF)
FIELDS = (
    (0, b"\xd3BLK"),
    (4, b"\0\x30"),
    (6, b"\0\0\0\1"),
    (10, b"zlib"),
    (10, b"bzp2"),
    (10, b"lz4\0"),
    (10, b"none"),
)
"""Fields of the header of an ASDF block: offset, odd value; then the sizes, of 8 bytes each, and a checksum."""


def flip(content, rng):
    """Change some bytes anywhere."""
    for _ in range(rng.randint(1, 50)):
        content[rng.randrange(len(content))] = rng.randrange(256)


def cut(content, rng):
    """Take out a part, often to the end."""
    start = rng.randrange(len(content))
    del content[start : rng.choice((len(content), start + rng.randint(1, 4000)))]


def repeat(content, rng):
    """Write a part twice."""
    start = rng.randrange(len(content))
    part = content[start : start + rng.choice((1, 4, CARD, BLOCK))]
    content[start:start] = part * rng.randint(1, 5)


def splice(content, rng):
    """Copy a part over another one."""
    size = rng.choice((1, 8, CARD, BLOCK))
    start, end = (rng.randrange(max(1, len(content) - size)) for _ in range(2))
    content[end : end + size] = content[start : start + size]


def card(content, rng):
    """Give a card of a FITS header another value, another keyword, or the place of another card."""
    cards = [k for k in range(0, len(content) - CARD, CARD) if content[k + 8 : k + 10] == b"= "]
    if not cards:
        return flip(content, rng)
    at = rng.choice(cards)
    if rng.random() < 0.8:
        content[at + 10 : at + CARD] = b" " + rng.choice(NUMBERS + WORDS)[:69].ljust(69)
    else:
        content[at : at + CARD] = content[(other := rng.choice(cards)) : other + CARD]
    return None


def number(content, rng):
    """Put an odd number or word in the place of a number in a text."""
    places = [match.span() for match in re.finditer(rb"-?\d+\.?\d*(?:[eE][-+]?\d+)?", content[: 1 << 20])]
    if places:
        start, end = rng.choice(places)
        content[start:end] = rng.choice(NUMBERS + WORDS)


def word(content, rng):
    """Put an odd word in the place of another one."""
    places = [match.span() for match in re.finditer(rb"[A-Za-z_]{3,}", content[: 1 << 20])]
    if places:
        start, end = rng.choice(places)
        content[start:end] = rng.choice(WORDS)


def size(content, rng):
    """Write an odd 32-bit number somewhere, as sizes and places of blocks are."""
    at = rng.randrange(max(1, len(content) - 4))
    content[at : at + 4] = struct.pack(rng.choice(("<I", ">I")), rng.choice(SIZES))


def block(content, rng):
    """Give a field of the header of an ASDF block an odd value, or damage the data or the index after it."""
    places = [match.start() for match in re.finditer(rb"\xd3BLK", content)]
    if not places:
        return flip(content, rng)
    at = rng.choice(places)
    odd = struct.pack(">Q", rng.choice((*SIZES, len(content), 1 << 62, (1 << 64) - 1, rng.randrange(1 << 20))))
    places = [*FIELDS, (14, odd), (22, odd), (30, odd), (38, odd), (54 + rng.randrange(200), odd)]
    offset, value = rng.choice(places)
    content[at + offset : at + offset + len(value)] = value
    return None


ANY = (flip, cut, repeat, splice, size)
FITS = (*ANY, card, card, card, card)
BLOCKS = (*ANY, block, block, block, block, number, word)
TEXT = (flip, cut, repeat, splice, number, number, word, word)


def mutated(content, rng, kinds):
    """Return a damaged copy: one to four of these kinds of damage."""
    result = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        if result:
            rng.choice(kinds)(result, rng)
    return bytes(result)
