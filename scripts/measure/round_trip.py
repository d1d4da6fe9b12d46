"""Draws where the time of a single round trip goes: see `--help`.

The first bar is made of two traces, of `serve` and of `bench`, on one clock: each system call, the
work between the calls, and the time in which one side waits for the other. On one host the kernel
delivers a packet, and wakes its receiver, within the call that sends. So a call of the sender may go on
while the receiver runs already; the bar follows the message, and counts the call until then.

The second bar is the median probe of `ping --timestamps`, on the same scale: *send* until the packet
reaches the driver, *away* until the echo is in the client's kernel, *wake* until the client has it.
"""

import argparse
import json
import re
import signal
import subprocess
import tempfile
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parent.parent.parent
UNITS = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}
TIME = r"([\d.]+) (ns|us|ms|s)"
PROBE = re.compile(rf"seq=(\d+) time={TIME} \(send {TIME}, away {TIME}, wake {TIME}\)")
# The first round trips meet cold caches, and the first of a stream a new connection.
COLD = 5
# Low enough that both sides sleep before each message.
RATE = 100
END_S = 60
WIDTH, BAR, LEFT, LINE = 860, 40, 16, 22
COLOURS = {"kernel": "#3b78c4", "program": "#e08a2e", "wake-up": "#b4559b", "wire and peer": "#8a93a0"}


def ns(number, unit):
    return float(number) * UNITS[unit]


def measure(resound, transport, count, folder):
    """Returns the traces of the server and of the generator, and the stretches of ping's probes."""
    paths = [f"{folder}/server.json", f"{folder}/generator.json"]
    command = [resound, "serve", "-q", f"{transport}://127.0.0.1:0", "--trace", paths[0]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            bound = server.stdout.readline().split()[1]
            run = {"capture_output": True, "text": True, "check": True, "timeout": END_S + count / 50}
            subprocess.run([resound, "bench", bound, "-c", "1", "-n", str(count), "-r", str(RATE),
                            "--warmup", "0s", "--trace", paths[1]], **run)
            server.send_signal(signal.SIGUSR2)
            ping = [resound, "ping", bound, "-c", str(count), "-i", "10ms", "--timestamps"]
            text = subprocess.run(ping, **run).stdout
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=END_S)
    names = ("total", "send", "away", "wake")
    probes = [{name: ns(*match.groups()[1 + 2 * at:3 + 2 * at]) for at, name in enumerate(names)}
              for match in PROBE.finditer(text)]
    if not probes:
        raise SystemExit("round-trip: no probe was answered with timestamps")
    return [json.loads(Path(path).read_text(encoding="utf-8")) for path in paths], probes


def slices(trace):
    """Yields the slices that made calls: the time at which the poll of its turn returned, and its
    calls as (name, from, to, amount). Times are nanoseconds of the wall clock."""
    begun = int(trace["otherData"]["begun_at_unix_ns"])
    woken, found = 0, []
    for span in trace["traceEvents"]:
        if span["ph"] != "X":
            continue
        at = begun + round(span["ts"] * 1e3)
        end = at + round(span["dur"] * 1e3)
        if span["name"] == "wait" and span["cat"] == "phase":
            woken = end
        elif span["cat"] == "slice":
            found.append((woken, []))
        elif span["cat"] == "call":
            found[-1][1].append((span["name"], at, end, span["args"].get("result", 0)))
    return [part for part in found if part[1]]


def first(calls, word):
    """Returns the first call of this direction that moved bytes."""
    return next((call for call in calls if call[0].startswith(word) and call[3] > 0), None)


def round_trips(server, generator):
    """Returns round trips as rows (what, label, ns) in the order of time."""
    sends = [call for _, calls in slices(generator) if (call := first(calls, "send"))]
    echoes = [(woken, call) for woken, calls in slices(generator) if (call := first(calls, "recv"))]
    served = [(woken, calls) for woken, calls in slices(server) if first(calls, "send")]
    found = []
    for send, (back, receive) in zip(sends, echoes):
        parts = [part for part in served if send[1] <= part[0] and first(part[1], "send")[1] <= back]
        if len(parts) != 1:
            # A busy machine mixed this round trip with another.
            continue
        woken, calls = parts[0]
        reply = first(calls, "send")
        sent = min(send[2], woken)
        rows = [("kernel", f"client: {send[0]}", sent - send[1]),
                ("wake-up", "the server wakes", woken - sent)]
        at = woken
        for name, begun, ended, _ in calls[:calls.index(reply) + 1]:
            label = "from its poll to the call" if at == woken else "between its calls"
            ended = min(ended, back) if name == reply[0] else ended
            rows += [("program", f"server: {label}", begun - at), ("kernel", f"server: {name}", ended - begun)]
            at = ended
        rows += [("wake-up", "the client wakes", back - at),
                 ("program", "client: from its poll to the call", receive[1] - back),
                 ("kernel", f"client: {receive[0]}", receive[2] - receive[1])]
        found.append(rows)
    return found


def total_of(rows):
    return sum(length for _, _, length in rows)


def median(items, key):
    return sorted(items, key=key)[len(items) // 2]


def text_of(length):
    return f"{length / 1e3:.1f} us"


def bar(rows, y, scale):
    """Returns the rectangles of one bar, with the number of each part that has room for it."""
    out, at = [], float(LEFT)
    for number, (what, label, length) in enumerate(rows, 1):
        width = max(1.0, length * scale)
        out.append(f'<rect x="{at:.1f}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{COLOURS[what]}">'
                   f"<title>{escape(label)}: {text_of(length)}</title></rect>")
        if width > 18:
            out.append(f'<text x="{at + 4:.1f}" y="{y + BAR / 2 + 5}" style="fill:#fff">{number}</text>')
        at += length * scale
    return out


def svg(bars):
    """Returns the bars, each with its title and a line for each of its parts."""
    scale = (WIDTH - 2 * LEFT) / max(total_of(rows) for _, rows in bars)
    out, y = [], 0
    for title, rows in bars:
        out.append(f'<text x="{LEFT}" y="{y + 26}">{escape(title)}</text>')
        out += bar(rows, y + 38, scale)
        y += 38 + BAR + 4
        for number, (what, label, length) in enumerate(rows, 1):
            y += LINE
            out.append(f'<rect x="{LEFT}" y="{y - 11}" width="12" height="12" fill="{COLOURS[what]}"/>')
            out.append(f'<text x="{LEFT + 20}" y="{y}">{number}. {escape(label)} ({what})</text>')
            out.append(f'<text x="{WIDTH - LEFT}" y="{y}" text-anchor="end">{text_of(length)}</text>')
        y += 16
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" role="img"'
            f' aria-label="Where the time of one round trip goes">')
    style = ("<style>text{font:14px system-ui,sans-serif;fill:#1b1e23}.page{fill:#fff}"
             "@media(prefers-color-scheme:dark){text{fill:#e6e8eb}.page{fill:#1a1d21}}</style>"
             f'<rect class="page" width="{WIDTH}" height="{y}"/>')
    return "\n".join([head, style, *out, "</svg>", ""])


def arguments():
    parser = argparse.ArgumentParser(
        description="Draws where the time of a single round trip on loopback goes, from the traces of "
        "`serve` and `bench` and from `ping --timestamps`, and prints it as Markdown. It takes the round "
        "trip with the median time. Run it on an idle machine.")
    parser.add_argument("--transport", choices=("udp", "tcp"), default="udp")
    parser.add_argument("--count", type=int, default=501, help="round trips of each kind (501)")
    parser.add_argument("--resound", default=ROOT / "target" / "release" / "resound", metavar="FILE",
                        help="the program (target/release/resound)")
    parser.add_argument("-o", metavar="FILE.svg", help="where the figure goes")
    asked = parser.parse_args()
    if asked.count <= 2 * COLD:
        parser.error(f"--count must be above {2 * COLD}")
    return asked


def main():
    asked = arguments()
    with tempfile.TemporaryDirectory() as folder:
        traces, probes = measure(asked.resound, asked.transport, asked.count, folder)
    trips = round_trips(*traces)[COLD:]
    if len(trips) < asked.count // 2:
        raise SystemExit(f"round-trip: only {len(trips)} of {asked.count} round trips were apart from others")
    rows = median(trips, total_of)
    probe = median(probes[COLD:], lambda probe: probe["total"])
    stretches = [("kernel", "client: send to driver", probe["send"]),
                 ("wire and peer", "away", probe["away"]),
                 ("wake-up", "the client wakes and receives", probe["wake"])]
    name = asked.transport.upper()
    bars = [(f"By the traces: one round trip over {name}, {text_of(total_of(rows))},"
             f" the median of {len(trips)}", rows),
            (f"By the kernel's timestamps: one probe of ping, {text_of(probe['total'])},"
             f" the median of {len(probes) - COLD}", stretches)]
    for title, rows in bars:
        print(f"{title}:\n\n| part | where | time | share |\n|---|---|---|---|")
        for what, label, length in rows:
            print(f"| {label} | {what} | {text_of(length)} | {100 * length / total_of(rows):.0f} % |")
        print()
    if asked.o:
        Path(asked.o).write_text(svg(bars), encoding="utf-8")


if __name__ == "__main__":
    main()
