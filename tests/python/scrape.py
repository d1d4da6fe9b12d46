"""Reads the metrics as a scraper does, with Python's HTTP client.

scrape.py BASE_URL: prints the error and exits with 1, or prints the metrics. `--parse` also parses
both formats with prometheus_client, the library of the Prometheus project.
"""

import sys
import urllib.request

OPEN_METRICS = "application/openmetrics-text"
WAIT_S_MAX = 60


def read(url, accept):
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=WAIT_S_MAX) as response:
        assert response.status == 200, response.status
        body = response.read().decode()
        assert len(body) == int(response.headers["Content-Length"])
        return response.headers["Content-Type"], body


def check_histograms(samples):
    """Checks that they are cumulative and complete, and count one turn less than have begun."""
    named = {}
    for name, labels, value in samples:
        named.setdefault(name, []).append((labels, value))
    found = 0
    for base in ("resound_loop_turn_events", "resound_loop_turn_busy_seconds"):
        for labels, count in named[f"{base}_count"]:
            buckets = named[f"{base}_bucket"]
            of_loop = [(l, value) for l, value in buckets if l["loop"] == labels["loop"]]
            counts = [value for _, value in of_loop]
            bounds = [float(l["le"]) for l, _ in of_loop]
            assert counts == sorted(counts) and bounds == sorted(bounds), of_loop
            assert bounds[-1] == float("inf") and counts[-1] == count, of_loop
            (turns,) = (v for l, v in named["resound_loop_turns_total"] if l == labels)
            assert count + 1 == turns, (base, count, turns)
            found += 1
    # The turn of this scrape is not measured yet, and the request for the counters is not an event
    # of a source.
    assert named["resound_loop_turn_events_sum"] == named["resound_loop_events_total"], named
    return found


def main():
    base = sys.argv[1]
    kind, plain = read(f"{base}/metrics", "*/*")
    assert kind == "text/plain; version=0.0.4; charset=utf-8", kind
    kind, open_metrics = read(f"{base}/metrics", f"{OPEN_METRICS};version=1.0.0,text/plain;q=0.1")
    assert kind == f"{OPEN_METRICS}; version=1.0.0; charset=utf-8", kind
    _, health = read(f"{base}/healthz", "*/*")
    assert health == "ok\n", health
    print(f"read {len(plain)} and {len(open_metrics)} bytes")
    if sys.argv[2:] != ["--parse"]:
        return

    from prometheus_client.openmetrics import parser as of_open_metrics
    from prometheus_client import parser as of_plain

    read_by = {}
    for parser, text in ((of_plain, plain), (of_open_metrics, open_metrics)):
        families = list(parser.text_string_to_metric_families(text))
        samples = [(s.name, s.labels, s.value) for f in families for s in f.samples]
        assert all(f.documentation for f in families), families
        assert all(f.type not in ("unknown", "untyped") for f in families), families
        print(f"parsed {check_histograms(samples)} histograms, {len(families)} families")
        read_by[parser] = sorted((name, sorted(labels.items())) for name, labels, _ in samples)
    plain_names, open_names = read_by.values()
    # The name of a bound differs: 1 in one format, 1.0 in the other.
    assert [name for name, _ in plain_names] == [name for name, _ in open_names]


main()
