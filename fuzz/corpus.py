#!/usr/bin/env python3
"""Makes the seeds in corpus/ from testdata/ltx, the same on every run."""

import random
import struct
from pathlib import Path

HERE = Path(__file__).resolve().parent
GOLDEN = HERE.parent / "testdata" / "ltx"
HEADER, TAIL = 100, 24
random.seed(1)


def put(target, name, data):
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def golden(path):
    level, = [GOLDEN / path] if (GOLDEN / path).is_file() else sorted((GOLDEN / path).parent.glob((GOLDEN / path).name))
    return level.read_bytes()


def crc64(data):
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0xD800000000000000 if byte & 1 else 0)
        table.append(byte)
    crc = 2**64 - 1
    for byte in data:
        crc = table[(crc ^ byte) & 255] ^ (crc >> 8)
    return crc ^ (2**64 - 1)


def inflate(block):
    out, at = bytearray(), 0

    def length(nibble):
        nonlocal at
        total = nibble
        while nibble == 15 or nibble == 255:
            nibble = block[at]
            at += 1
            total += nibble
            if nibble != 255:
                break
        return total

    while True:
        token = block[at]
        at += 1
        count = length(token >> 4)
        out += block[at : at + count]
        at += count
        if at == len(block):
            return bytes(out)
        offset = struct.unpack_from("<H", block, at)[0]
        at += 2
        for _ in range(length(token & 15) + 4):
            out.append(out[-offset])


def xxh32_short(data):
    """XXH32 of less than four bytes, enough for a frame's descriptor."""
    mask, value = 2**32 - 1, 374761393 + len(data)
    for byte in data:
        value = (value + byte * 374761393) & mask
        value = ((value << 11 | value >> 21) & mask) * 2654435761 & mask
    value = (value ^ value >> 15) * 2246822519 & mask
    value = (value ^ value >> 13) * 3266489917 & mask
    return value ^ value >> 16


def leb128(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + bytes([value]))


def index_of(file):
    size = struct.unpack(">Q", file[-TAIL:-16])[0]
    return file[-TAIL - size : -TAIL]


def older(file):
    """The file in the older encoding: an LZ4 frame per page, around the same block."""
    descriptor = bytes([0x60, 0x70])
    descriptor += bytes([xxh32_short(descriptor) >> 8 & 255])
    out, hashed, index, at = bytearray(file[:HEADER]), bytearray(file[:HEADER]), b"", HEADER
    while file[at : at + 6] != bytes(6):
        number, _, size = struct.unpack_from(">IHI", file, at)
        block = file[at + 10 : at + 10 + size]
        prefix = struct.pack(">IH", number, 0)
        frame = prefix + b"\x04\x22\x4d\x18" + descriptor + struct.pack("<I", size) + block + bytes(4)
        index += leb128(number) + leb128(len(out)) + leb128(len(frame))
        out += frame
        hashed += prefix + inflate(block)
        at += 10 + size
    index += b"\0"
    end = bytes(6) + index + struct.pack(">Q", len(index)) + file[-16:-8]
    return bytes(out + end + struct.pack(">Q", crc64(hashed + end) | 1 << 63))


files = {f"512-{n}": golden(f"512/0/*{n}.ltx") for n in range(1, 6)}
files["512-snapshot"] = golden("512/9/*.ltx")
files["4096-4"] = golden("4096/0/*4.ltx")
files["65536-2"] = golden("65536/0/*2.ltx")
for name, file in files.items():
    put("ltx_decode", name, file)
    put("ltx_index", name, index_of(file))
small = files["512-5"]
for name in ["512-4", "512-5", "65536-2"]:
    put("ltx_decode", name + "-older", older(files[name]))
for name, length in [("header-only", 100), ("half-header", 50), ("in-prefix", 105), ("in-page", 400), ("in-index", len(small) - 30), ("in-trailer", len(small) - 3)]:
    put("ltx_decode", "cut-" + name, small[:length])
for at in [3, 7, 11, 15, 23, 47, 109, 300, len(small) - 20, len(small) - 1]:
    put("ltx_decode", f"flip-{at}", small[:at] + bytes([small[at] ^ 0x41]) + small[at + 1 :])
put("ltx_decode", "empty", b"")
put("ltx_decode", "twice", small + small)

put("ltx_index", "none", b"\0")
put("ltx_index", "one", bytes([3, 100, 20, 0]))
put("ltx_index", "descending", bytes([3, 100, 20, 2, 120, 20, 0]))
put("ltx_index", "gap", bytes([3, 100, 20, 5, 121, 20, 0]))
put("ltx_index", "padded", bytes([0x83, 0, 100, 20, 0]))
put("ltx_index", "overflow", b"\xff" * 11)
put("ltx_index", "tail", small[-TAIL:])

raw = lambda names: b"\1" + b"".join(struct.pack(">I", len(files[n])) + files[n] for n in names)
put("ltx_merge", "raw-all", raw([f"512-{n}" for n in range(1, 6)]))
put("ltx_merge", "raw-increments", raw(["512-4", "512-5"]))
put("ltx_merge", "raw-one", raw(["512-5"]))
put("ltx_merge", "raw-gap", raw(["512-5", "512-4"]))
put("ltx_merge", "raw-page-sizes", raw(["65536-2", "512-5"]))
for number in range(8):
    put("ltx_merge", f"script-{number}", bytes([number % 2 * 2, number % 4]) + random.randbytes(200 + 60 * number))
    put("ltx_roundtrip", f"script-{number}", bytes([number]) + random.randbytes(40 * number))
put("ltx_roundtrip", "snapshot", bytes(9) + bytes([5, 9]) + random.randbytes(120))
put("ltx_roundtrip", "deleted", bytes(9) + bytes([0, 0]) + random.randbytes(60))
