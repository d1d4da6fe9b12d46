"""Reads a result file of a run as other tools do, and prints its contents as one line of JSON.

read_result.py FILE: FILE ends in .csv (one row below its header), .hgrm (HdrHistogram's table of
percentiles), .hlog (HdrHistogram's log of intervals) or .json (the histograms of the document).
"""

import base64
import csv
import fractions
import json
import math
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
                name, value = name.strip(), value.strip()
                summary[name] = value if name == "Unit" else float(value)
        elif line.strip():
            rows.append([float(word) for word in line.split()[:3]])
    assert rows == sorted(rows), "values, percentiles and counts ascend"
    return {"rows": rows, "summary": summary}


def buckets_of(encoded):
    """The buckets of a histogram in the compressed encoding, version 2, that hold values: lowest and
    highest value, and count."""
    cookie, length = struct.unpack_from(">ii", encoded)
    assert cookie & ~0xF0 == 0x1C849304, hex(cookie)
    payload = zlib.decompress(encoded[8 : 8 + length])
    cookie, length, offset, digits, lowest, _, ratio = struct.unpack_from(">iiiiqqd", payload)
    assert cookie & ~0xF0 == 0x1C849303, hex(cookie)
    assert (offset, digits, lowest, ratio) == (0, 3, 1, 1.0)
    counts = payload[40 : 40 + length]
    buckets = []
    index = at = 0
    while at < len(counts):
        value = shift = 0
        while True:
            byte = counts[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        # ZigZag; a negative number is a run of buckets without values.
        value = (value >> 1) ^ -(value & 1)
        if value < 0:
            index -= value
            continue
        if value > 0:
            # Three digits take 2,048 buckets; each further 1,024 are twice as wide as those before.
            width = max((index >> 10) - 1, 0)
            start = (index - (width << 10)) << width
            buckets.append((start, start + (1 << width) - 1, value))
        index += 1
    return buckets


def count_of(encoded):
    return sum(count for _, _, count in buckets_of(encoded))


def value_at(buckets, percentile):
    """The highest value of the bucket that holds the percentile's rank."""
    rank = math.ceil(fractions.Fraction(percentile) / 100 * sum(count for _, _, count in buckets))
    for _, highest, count in buckets:
        rank -= count
        if rank <= 0:
            return highest


def read_json(lines):
    document = json.loads("".join(lines))
    percentiles = document["latency_ns"]["percentiles"]
    histograms = {}
    texts = dict(document["histograms"])
    # Those of mixed lengths are a list.
    texts.update((f"lengths/{place}", text) for place, text in enumerate(texts.pop("lengths")))
    for name, text in texts.items():
        if text is None:
            continue
        buckets = buckets_of(base64.b64decode(text, validate=True))
        count = sum(count for _, _, count in buckets)
        middle = sum((lowest + highest) / 2 * count for lowest, highest, count in buckets)
        histograms[name] = {
            "count": count,
            "min": buckets[0][:2],
            "max": buckets[-1][:2],
            "mean": middle / count,
            "percentiles": {text: value_at(buckets, text) for text in percentiles},
        }
    return histograms


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


READERS = {"csv": read_csv, "json": read_json, "hgrm": read_hgrm, "hlog": read_hlog}

path = sys.argv[1]
with open(path, newline="") as file:
    print(json.dumps(READERS[path.rpartition(".")[2]](file.readlines())))
