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


# Listings, and what is asked of them.
def listing(files, start=0):
    """Each file is (level, min, max, created)."""
    out = [start]
    for level, low, high, created in files:
        out += [level, low, high if level == 9 else high - low, created]
    return bytes(out)


single = lambda txids: [(0, txid, txid, txid) for txid in txids]
ladder = [(9, 1, 10, 10), (1, 1, 6, 6), (1, 7, 12, 12), (2, 1, 8, 8), (9, 1, 20, 20), (1, 13, 20, 20), (2, 9, 16, 16)]
listings = {
    "empty": listing([]),
    "whole": listing([(9, 1, 10, 10)] + single(range(11, 20))),
    "no-snapshot": listing(single(range(1, 12))),
    "ladder": listing(ladder + single(range(17, 26))),
    "gap": listing([(9, 1, 10, 10)] + single([11, 12, 14, 15])),
    "not-from-the-start": listing(single(range(5, 9))),
    "twice": listing([(9, 1, 4, 9), (9, 1, 4, 3)] + single([5, 5, 6]) + [(1, 5, 7, 8), (3, 5, 7, 2)]),
    "clock-back": listing([(9, 1, 10, 20), (9, 1, 12, 3), (9, 1, 14, 9)] + single(range(13, 20))),
    "odd-snapshots": listing([(9, 0xE1, 9, 1), (9, 1, 8, 2), (9, 0xE5, 20, 3), (1, 9, 12, 3)]),
    "the-highest": listing([(1, 0, 7, 1), (0, 8, 8, 2), (0, 9, 9, 3), (9, 0xE0, 20, 4), (0, 15, 15, 4)], start=0xF8),
}
for name, body in listings.items():
    for target, head in [("latest", [0, 0]), ("txid", [1, 3]), ("before", [2, 12])]:
        put("chain_plan", f"{name}-{target}", bytes(head) + body)
    put("chain_retain", name, bytes([5, 20]) + body)
put("chain_retain", "keep-all", bytes([0xFF, 20]) + listings["ladder"])
put("chain_retain", "keep-none", bytes([0, 0xFF]) + listings["ladder"])
for number in range(4):
    put("chain_plan", f"random-{number}", random.randbytes(100))
    put("chain_retain", f"random-{number}", random.randbytes(100))


# Logs: as scripts, and byte for byte.
def wal(order, page_size, salts, frames):
    """Each frame is (page, commit, fill byte)."""
    def update(sums, data):
        s1, s2 = sums
        for x, y in struct.iter_unpack(order + "II", data):
            s1 = s1 + x + s2 & 0xFFFFFFFF
            s2 = s2 + y + s1 & 0xFFFFFFFF
        return s1, s2

    head = struct.pack(">6I", 0x377F0682 | (order == ">"), 3007000, page_size, 7, *salts)
    sums = update((0, 0), head)
    out = head + struct.pack(">2I", *sums)
    for page, commit, fill in frames:
        start, body = struct.pack(">2I", page, commit), bytes([fill]) * page_size
        sums = update(update(sums, start), body)
        out += start + struct.pack(">4I", *salts, *sums) + body
    return out


frames = [(2, 0, 1), (3, 6, 2), (4, 0, 3), (7, 7, 4), (2, 0, 5)]
for order, ending in [("<", "little"), (">", "big")]:
    log = wal(order, 512, (1, 2), frames)
    put("wal_scan", f"raw-{ending}", b"\1\0" + log)
    put("wal_scan", f"raw-{ending}-cut", b"\1\0" + log[:-300])
    put("wal_scan", f"raw-{ending}-restarted", b"\1\0" + wal(order, 512, (2, 9), frames[1:3]) + log[32 + 2 * 536 :])
put("wal_scan", "raw-1024", b"\1\1" + wal("<", 1024, (1, 2), frames))
put("wal_scan", "raw-other-page-size", b"\1\0" + wal("<", 1024, (1, 2), frames))
put("wal_scan", "raw-header-only", b"\1\0" + wal("<", 512, (1, 2), []))
put("wal_scan", "raw-nothing", b"\1\0")
put("wal_scan", "raw-zeros", b"\1\0" + bytes(1200))
script = lambda many: bytes([len(many)]) + b"".join(bytes([p - 1, c * 2 - 1 if c else 0] + ([f] if p > 1 else []) + [d]) for p, c, f, d in many)
good = [(2, 0, 1, 0), (3, 6, 2, 0), (1, 0, 0, 0), (6, 7, 4, 0), (2, 0, 5, 0), (9, 0, 6, 0)]
for name, damage in [("salts", 0xF0), ("content", 0xF1), ("checksum", 0xF2), ("page-zero", 0xF3)]:
    bad = [(p, c, f, damage if at == 3 else d) for at, (p, c, f, d) in enumerate(good)]
    put("wal_scan", f"script-bad-{name}", bytes([0, 0, 0, 5]) + script(bad) + bytes(4))
put("wal_scan", "script-little", bytes([0, 0, 0, 5]) + script(good) + bytes(4))
put("wal_scan", "script-big", bytes([2, 3, 0, 5]) + script(good) + bytes(4))
put("wal_scan", "script-restarted", bytes([0, 0, 1, 5]) + script(good) + script(good[:2]) + bytes(4))
put("wal_scan", "script-restarted-cut", bytes([0, 0, 1, 5]) + script(good) + script(good[:2]) + bytes([0xA1, 1, 0]))
put("wal_scan", "script-shrinks", bytes([0, 0, 0, 5]) + script([(9, 6, 1, 0), (2, 2, 2, 0), (3, 4, 3, 0)]) + bytes(4))
for word, value in [(0, 35), (1, 34), (2, 8), (2, 10), (2, 33), (4, 200)]:
    put("wal_scan", f"script-header-{word}-{value}", bytes([0, 0, 2, 5, word, value]) + script(good) + bytes(4))
for number in range(4):
    put("wal_scan", f"script-random-{number}", bytes([0, number]) + random.randbytes(60))

# Text.
text = lambda target, name, *lines: put(target, name, "\n".join(lines).encode())
text("duration", "units", "1h30m", "1.5s", "100ms", "43.981913ms", "5us", "100µs", "100μs", "10ns", "0", "+0", "-0")
text("duration", "signs", "-1.5h", "+2m", "--1s", "-.5s", "1.s", ".s")
text("duration", "limits", "9223372036854775807ns", "-9223372036854775808ns", "2562047h47m16.854775807s", "0.3333333333333333333h")
text("duration", "refused", "", "5", "s", "1d", "1 s", "1.2.3s", "9999999h", "1e3s")
text("duration", "sizes", "100MB", "1.5KB", "2GB", "1TB", "7B", "12", "-1MB", "nanB", "infKB", "1e400MB", "0x10B")
text("duration", "quotes", 'say "x"', "a=b", "\x07\x1b\\", "zażółć\u200b𝄞", "\ufffd")
put("duration", "bytes", bytes(range(256)))
text("timestamp", "zulu", "2026-11-20T09:59:49Z", "2026-11-20t09:59:49.967z", "2026-11-20T09:59:49.967000001Z")
text("timestamp", "offsets", "2026-11-20T04:59:49-05:00", "2026-11-20T09:59:49.5+00:00", "2026-11-20T23:59:59.999999999+23:59", "2026-11-20T09:59:49-00:00")
text("timestamp", "limits", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z", "1969-12-31T23:59:59.9999Z", "2024-02-29T00:00:00Z", "1900-02-28T00:00:00Z")
text("timestamp", "refused", "", "2026-11-20", "2026-11-20 09:59:49Z", "2026-11-20T09:59:49", "2026-13-20T09:59:49Z", "2025-02-29T00:00:00Z", "2026-11-20T24:00:00Z")
text("timestamp", "almost", "2026-11-20T09:59:49+0530", "2026-11-20T09:59:49+05", "2026-11-20T09:59:49,5Z", "2026-11-20T09:59:60Z", "20261120T095949.000Z", "2026-11-20T09:59:49Z[UTC]", "+002026-11-20T09:59:49Z", "2026-11-20T09:59:49+05:30:10")
text("exec_words", "plain", "myapp -port 8080")
text("exec_words", "quotes", "a 'b c' \"d e\" f\\ g ''")
text("exec_words", "escapes", "a \"b\\\"c\" 'b\\c' \\;b '\"' \"'\"")
text("exec_words", "literal", "a `b c` $(d e) x$(f g) \"$(b c)\" '`b`' #b $X ~ *")
text("exec_words", "shell", "echo a; echo b && c | d > e")
text("exec_words", "unbalanced", "it's `b $(c \\")
text("exec_words", "blank", " \t\r\n")
text("exec_words", "wide", "zażółć\u00a0gęślą '𝄞 \u2028'")
text("url", "file", "/abs/path/../x//y/./z/")
text("url", "escapes", "/a%20b%2Fc%C3%A4 d%zz")
text("url", "query", "/a?x=1#frag?y=%41 b")
text("url", "scheme", "s3://bucket/prefix?region=x")
text("url", "upper", "FILE:///A/../../B")
text("url", "marks", "/x;y=!(*)'\"|^[]{}<>`~-_.$&+,:@")
text("url", "dots", "../..//.../..a/./b..")
text("url", "sqlite", "sqlite://dir/../x.db")
text("url", "home", "~/x.db")
put("url", "bytes", bytes(range(1, 256)))
text("file_name", "good", "0000000000000001-00000000000000ff.ltx", "ffffffffffffffff-ffffffffffffffff.ltx", "0000000000000abc")
text("file_name", "case", "0000000000000001-00000000000000FF.ltx", "0000000000000ABC")
text("file_name", "order", "0000000000000002-0000000000000001.ltx", "0000000000000000-0000000000000001.ltx")
text("file_name", "path", "../0000000000000001-0000000000000001.ltx", "0000000000000001-0000000000000001.ltx/x")
text("file_name", "nearly", "+000000000000001-0000000000000001.ltx", "0000000000000001-0000000000000001.ltx.tmp", "000000000000001-00000000000000001.ltx", "00000000000000é")
put("config", "all", 'addr: ":9090"\nsocket: {enabled: true, permissions: 0660}\nlogging: {level: debug, type: json}\nsnapshot: {interval: 1h, retention: 48h}\nlevels: [{interval: 30s}, {interval: 5m}]\nretention: {enabled: true, keep: {daily: 720h}}\nalerts: [{on: [lag, error], command: mail}]\naccess-key-id: $SET\npart-size: 10MiB\ndbs:\n  - dir: /data\n    pattern: "*.db"\n    recursive: true\n    meta-dir: /meta\n    busy-timeout: 5s\n    replica: {type: sftp, host: h, user: u, password: "${SET}", path: p}\n'.encode())
put("config", "database", 'dbs:\n  - path: /var/lib/db\n    replica:\n      url: s3://mybkt.litestream.io/db?endpoint=localhost:9000\n'.encode())
put("config", "marks", '\ufeffa: "\\x41\\u263a" # $X\r\nb: |\r\n  text\r\n--- \nc: ['.encode())
put("config", "merge", 'x: &x\n  type: abs\n  bucket: c\n  sas-token-file: /secret\ndbs:\n- path: a$$b.db\n  replicas:\n  - <<: *x\n    path: p\n  - {url: "nats://u:p@h/b", reconnect-wait: 1s, root-cas: [a]}\n'.encode())
put("config", "old", 'dbs:\n  - path: /a\n    max-checkpoint-page-count: 5\n    replica:\n      path: ~/r\n      retention: 720h\n      sync-interval: 1\n'.encode())
line = "{} 4096 0000000a deadbeef 12 00000001 00000002 7 2049 131 24576 1700000000000 00c0ffee00c0ffee00c0ffee00c0ffee"
text("cursor", "little", "0000000000000005", "0000000000000005 " + line.format("little"), "")
text("cursor", "big", "ffffffffffffffff", "ffffffffffffffff " + line.format("big"), "")
text("cursor", "other", "0000000000000006", "0000000000000005 " + line.format("little"), "")
text("cursor", "cut", "0000000000000005", "0000000000000005 " + line.format("little"))
text("cursor", "signs", "0000000000000005", "0000000000000005 little 512 +a +b +1 +c +d +0 +0 +0 +0 -5 +e", "")
text("cursor", "page-size", "0000000000000005", "0000000000000005 " + line.format("little").replace("4096", "4095"), "")

words = lambda name, command, *many: put("args", name, bytes([command]) + b"\0".join(w if isinstance(w, bytes) else w.encode() for w in many))
words("ltx", 5, "-level", "all", "--json", "file:///x")
words("ltx-level", 5, "-level=9", "-json=F", "--", "-x")
words("replicate", 8, "-exec", "app 'x y'", "-once=true", "/db", "s3://b/p")
words("restore", 10, "-o", "out.db", "-txid=00000000000000ff", "-parallelism", "0x_1F", "-f=false", "-follow-interval=1h0.5s", "file:///x")
words("restore-wrong", 10, "-parallelism=1__0", "-txid", "zz", "-timestamp=x")
words("restore-unknown", 10, "--if-db-not-exist", "-paralelism=3")
words("version", 17, "-h")
words("populate", 18, "-db", "x", "-index-ratio=NaN", "-target-size=1.5GB", "-row-size", "-0b101")
words("load", 19, "-db=x", "-duration", "-1.5h", "-read-ratio", "1e300", "x")
words("dashes", 10, "---x", "-=x", "-", "--")
words("bytes", 10, "-o", b"\xff\xfe", b"\xc3\x28", "-o=a=b")
words("stop", 13, "-timeout", "0x1F", "-force", "-socket=", "-json=F", "/x")
words("register", 6, "-replica", "s3://b/p", "-timeout=-1", "a", "b")

text("control_request", "fields", '{"path":"/a","wait":true,"timeout":5}')
text("control_request", "cases", '{"PATH":"/a","Path":null,"path":"b","WAIT":false} rest')
text("control_request", "types", '{"path":1}', '{"wait":"yes"}')
text("control_request", "numbers", '{"timeout":-9223372036854775808,"path":"\\u00e9\\ud834\\udd1e"}')
text("control_request", "null", "null")
text("control_request", "deep", '{"more":' + "[" * 200)
text("control_request", "addresses", "//list?x=1", "/a/../../b//c/", "/%2f%2Fevil", "//%5c..//x", "/%zz", "*", "/a/./?//", "/..//%2e%2e/x")
put("control_request", "bytes", bytes(range(256)))
