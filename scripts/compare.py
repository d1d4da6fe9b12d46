"""What scripts/compare.sh does not do in bash: holding connections, reading JSON, the tables."""

import json
import os
import socket
import statistics
import sys


def hold(host, port, pid, count):
    """Opens the connections, has one echo on each, and prints the server's resident KiB."""
    held = []
    for _ in range(count):
        connection = socket.create_connection((host, port), timeout=10)
        connection.sendall(b"x" * 64)
        got = 0
        while got < 64:
            chunk = connection.recv(64 - got)
            if not chunk:
                sys.exit(f"the server closed connection {len(held) + 1}")
            got += len(chunk)
        held.append(connection)
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        print(next(line.split()[1] for line in status if line.startswith("VmRSS:")))


def bench(path):
    """Prints `key=value` of a document of `resound bench -J`; exits 1 where the run was no good."""
    with open(path, encoding="utf-8") as file:
        run = json.load(file)
    messages = run["messages"]
    if run["status"] != "ok" or messages["corrupted"] or not messages["received"]:
        sys.exit(f"status {run['status']}: {run['error']}; messages {messages}")
    percentiles = run["latency_ns"]["percentiles"]
    values = {
        "messages": messages["received"],
        "rate": run["rate"]["achieved"],
        "p50_ns": percentiles.get("50"),
        "p99_ns": percentiles.get("99"),
        "lost": messages["lost"],
        "verdict": run["generator"]["verdict"],
    }
    print(" ".join(f"{key}={value}" for key, value in values.items() if value is not None))


# Heading, name in the results, divisor, decimals.
COLUMNS = [
    ("messages/s", "rate", 1e3, 1, " k"),
    ("server CPU an echo", "server_cpu_ns", 1e3, 2, " us"),
    ("generator CPU a message", "generator_cpu_ns", 1e3, 2, " us"),
    ("p50", "p50_ns", 1e3, 1, " us"),
    ("p99", "p99_ns", 1e3, 1, " us"),
    ("resident at 1,000 connections", "resident_kib", 1024, 1, " MiB"),
]


def cell(values, ours, divisor, decimals, unit):
    """Median (min to max), and the median of the ratios to ours of the same round."""
    if not values:
        return "–"
    scaled = [value / divisor for value in values.values()]
    median, low, high = statistics.median(scaled), min(scaled), max(scaled)
    text = f"{median:.{decimals}f}{unit} ({low:.{decimals}f}–{high:.{decimals}f})"
    ratios = [values[number] / ours[number] for number in values if ours.get(number)]
    if values is not ours and ratios:
        text += f" ×{statistics.median(ratios):.2f}"
    return text


def table(path):
    """Prints a Markdown table of lines `round, row, name, value`. The first row is the measure."""
    rows = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            number, row, name, value = line.rstrip("\n").split("\t")
            rows.setdefault(row, {}).setdefault(name, {})[number] = value
    if not rows:
        return
    columns = [column for column in COLUMNS if any(column[1] in row for row in rows.values())]
    print("| | " + " | ".join(column[0] for column in columns) + " |")
    print("|---|" + "---|" * len(columns))
    numbers = {
        row: {
            name: {number: float(value) for number, value in values.items()}
            for name, values in names.items()
            if name != "verdict"
        }
        for row, names in rows.items()
    }
    ours = numbers[next(iter(numbers))]
    for row, names in numbers.items():
        cells = [
            cell(names.get(name, {}), ours.get(name, {}), *form) for _, name, *form in columns
        ]
        print(f"| {row} | " + " | ".join(cells) + " |")
    bullets = []
    for row, names in rows.items():
        lost = sum(int(value) for value in names.get("lost", {}).values())
        if lost:
            bullets.append(f"- {row}: {lost} messages lost.")
        verdicts = list(names.get("verdict", {}).values())
        limited = len([verdict for verdict in verdicts if verdict != "ok"])
        if limited:
            rounds = f"{limited} of {len(verdicts)} rounds"
            bullets.append(f"- {row}: the generator was the limit in {rounds}.")
    if bullets:
        print()
        print("\n".join(bullets))


def main():
    """Runs the command named first."""
    command, *arguments = sys.argv[1:]
    if command == "hold":
        host, _, port = arguments[0].rpartition(":")
        hold(host, int(port), arguments[1], int(arguments[2]))
    elif command == "bench":
        bench(arguments[0])
    elif command == "table":
        table(arguments[0])
    elif command == "cpus":
        print(*sorted(os.sched_getaffinity(0)))


main()
