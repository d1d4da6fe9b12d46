"""Reads a result file of a run as other tools do, and prints its contents as one line of JSON.

read_result.py FILE: FILE ends in .csv (one row below its header), .hgrm (HdrHistogram's table of
percentiles) or .hlog (HdrHistogram's log of intervals).
"""

import base64
import csv
import json
import struct
import sys
import zlib


def read_csv(lines):
    header, row = csv.reader(lines)
    assert len(header) == len(row) == len(set(header)), "the names of the columns differ"
    return dict(zip(header, row))


def read_hgrm(lines):
    rows, summary = [], {}
    for line in lines[1:]:
        if line.startswith("#["):
            pairs = line.strip("#[]\n").split(",")
            for name, value in (pair.split("=") for pair in pairs):
                summary[name.strip()] = float(value)
        elif line.strip():
            rows.append([float(word) for word in line.split()[:3]])
    assert rows == sorted(rows), "values, percentiles and counts ascend"
    return {"rows": rows, "summary": summary}


def count_of(encoded):
    """Returns the number of values of a histogram in the compressed encoding, version 2."""
    cookie, length = struct.unpack_from(">ii", encoded)
    assert cookie & ~0xF0 == 0x1C849304, hex(cookie)
    payload = zlib.decompress(encoded[8 : 8 + length])
    cookie, length, _, digits, _, _, _ = struct.unpack_from(">iiiiqqd", payload)
    assert cookie & ~0xF0 == 0x1C849303, hex(cookie)
    assert digits == 3
    counts = payload[40 : 40 + length]
    total = at = 0
    while at < len(counts):
        value = shift = 0
        while True:
            byte = counts[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        # ZigZag encoding; a negative number is a run of values that did not occur.
        total += max((value >> 1) ^ -(value & 1), 0)
    return total


def read_hlog(lines):
    intervals = []
    for line in lines:
        if line.startswith("#") or line.startswith('"'):
            continue
        words = line.strip().split(",")
        tag = words.pop(0).removeprefix("Tag=") if words[0].startswith("Tag=") else None
        start, length, longest, encoded = words
        count = count_of(base64.b64decode(encoded, validate=True))
        interval = {"tag": tag, "start": float(start), "length": float(length)}
        intervals.append(interval | {"max": float(longest), "count": count})
    return {"intervals": intervals}


READERS = {"csv": read_csv, "hgrm": read_hgrm, "hlog": read_hlog}

path = sys.argv[1]
with open(path, newline="") as file:
    print(json.dumps(READERS[path.rpartition(".")[2]](file.readlines())))
