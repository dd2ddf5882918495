"""Screenshots made small: 256 colours, packed as tightly as zlib can. Chromium's own are two to four times as large."""

import struct
import zlib
from collections import Counter

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOURS = 256


def shrink(data):
    """The same picture with a palette. Rare colours become the nearest frequent one; a page has few."""
    width, height, channels, rows = decode(data)
    pixels = [tuple(row[at:at + 3]) for row in rows for at in range(0, width * channels, channels)]
    counts = Counter(pixels)
    palette = [colour for colour, _ in counts.most_common(COLOURS)]
    places = {colour: place for place, colour in enumerate(palette)}
    for colour in counts:
        if colour not in places:
            places[colour] = min(range(len(palette)), key=lambda place: distance(palette[place], colour))
    drawn = bytes(places[pixel] for pixel in pixels)
    lines = b"".join(b"\0" + drawn[at:at + width] for at in range(0, width * height, width))
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    flat = bytes(part for colour in palette for part in colour)
    return SIGNATURE + b"".join(
        chunk(kind, content)
        for kind, content in ((b"IHDR", head), (b"PLTE", flat), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    )


def distance(one, other):
    return sum((a - b) ** 2 for a, b in zip(one, other))


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def decode(data):
    """Width, height, channels and rows of a PNG with 8 bits a channel, as Chromium writes it."""
    at, packed = len(SIGNATURE), b""
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        content = data[at + 8:at + 8 + size]
        if kind == b"IHDR":
            width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", content)
        elif kind == b"IDAT":
            packed += content
        at += size + 12
    if (bits, interlaced) != (8, 0) or colour not in (2, 6):
        raise ValueError(f"a PNG of {bits} bits, colour type {colour}; expected 8 bits of RGB or RGBA")
    channels = 3 if colour == 2 else 4
    lines, rows = zlib.decompress(packed), []
    before, stride = bytearray(width * channels), width * channels + 1
    for start in range(0, height * stride, stride):
        before = unfilter(lines[start], bytearray(lines[start + 1:start + stride]), before, channels)
        rows.append(before)
    return width, height, channels, rows


def unfilter(kind, row, above, channels):
    """PNG §9.2: each byte is told as its difference from what its neighbours predict."""
    for at in range(len(row)) if kind else ():
        left = row[at - channels] if at >= channels else 0
        corner = above[at - channels] if at >= channels else 0
        predictions = (0, left, above[at], (left + above[at]) // 2)
        predicted = predictions[kind] if kind < 4 else predict(left, above[at], corner)
        row[at] = (row[at] + predicted) & 0xFF
    return row


def predict(left, above, corner):
    """Paeth's predictor."""
    guess = left + above - corner
    return min((abs(guess - left), 0, left), (abs(guess - above), 1, above), (abs(guess - corner), 2, corner))[2]
