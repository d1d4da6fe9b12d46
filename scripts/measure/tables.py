"""Markdown tables of recorded rounds."""

import statistics
import subprocess

import programs

# Fewer values have no interval: even the lowest and the highest enclose the median in fewer than 95
# of 100 cases. The same as INTERVAL_SAMPLES_MIN in src/stats/median.rs.
VALUES_MIN = 6

# Name in the results: heading, divisor, decimals, unit.
COLUMNS = {
    "rate": ("messages/s", 1e3, 1, " k"),
    "bytes_rate": ("echoed", 1e6, 0, " MB/s"),
    "server_cpu_us": ("server CPU per echo", 1, 2, " us"),
    "server_cpu_ns": ("server CPU per echo", 1, 0, " ns"),
    "server_kib_ns": ("server CPU per KiB", 1, 1, " ns"),
    "client_cpu_us": ("generator CPU per message", 1, 2, " us"),
    "client_kib_ns": ("generator CPU per KiB", 1, 1, " ns"),
    "p50_ns": ("p50", 1e3, 1, " us"),
    "p99_ns": ("p99", 1e3, 1, " us"),
    "server_share": ("CPUs the server took", 1, 2, ""),
    "client_share": ("CPUs the generator took", 1, 2, ""),
    "resident_kib": ("resident at 1,000 connections", 1024, 1, " MiB"),
}


def medians(lists):
    """Returns the median of each list of numbers and its 95 % interval, by the statistics of
    `resound compare`. A list of too few numbers has no interval, and an empty one no median."""
    lines = "".join(" ".join(map(repr, numbers)) + "\n" for numbers in lists)
    try:
        run = subprocess.run(
            [programs.MEDIANS], input=lines, stdout=subprocess.PIPE, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise programs.Failed(f"{programs.MEDIANS}: {error}; omit --no-build") from error
    return [[float(word) for word in line.split()] for line in run.stdout.splitlines()]


def cell(values, ratio, divisor, decimals, unit):
    """Returns the median (lowest to highest), then the median of the ratios and its interval, as
    far as `ratio` has them."""
    if not values:
        return "–"
    scaled = [value / divisor for value in values.values()]
    median, low, high = statistics.median(scaled), min(scaled), max(scaled)
    text = f"{median:.{decimals}f}{unit} ({low:.{decimals}f}–{high:.{decimals}f})"
    if ratio:
        text += f" ×{ratio[0]:.2f}"
    if len(ratio) > 1:
        text += f" [{ratio[1]:.2f}–{ratio[2]:.2f}]"
    return text


class Table:
    """Rows of figures by round. The ratios are relative to the first row."""

    def __init__(self, columns):
        self.columns = columns
        self.rows = {}

    def record(self, number, row, figures):
        """Records the figures of a row in a round."""
        names = self.rows.setdefault(row, {})
        for name, value in figures.items():
            names.setdefault(name, {})[number] = value

    def print(self, title):
        """Prints the title, the table and the remarks."""
        print(f"\n{title}\n")
        if not self.rows:
            print("Nothing was measured.")
            return
        shown = [
            name for name in self.columns if any(name in row for row in self.rows.values())
        ]
        print("| | " + " | ".join(COLUMNS[name][0] for name in shown) + " |")
        print("|---|" + "---|" * len(shown))
        places = [(row, name) for row in self.rows for name in shown]
        ratios = dict(zip(places, medians(self.ratios(*place) for place in places)))
        for row, names in self.rows.items():
            cells = [cell(names.get(n, {}), ratios[row, n], *COLUMNS[n][1:]) for n in shown]
            print(f"| {row} | " + " | ".join(cells) + " |")
        remarks = [remark for row in self.rows.items() for remark in self.remarks(*row)]
        if remarks:
            print("\n" + "\n".join(remarks), flush=True)

    def ratios(self, row, name):
        """Returns the ratios of a row's figure to that of the first row in the same round."""
        first_row = next(iter(self.rows))
        if row == first_row:
            return []
        first = self.rows[first_row].get(name, {})
        values = self.rows[row].get(name, {})
        return [values[number] / first[number] for number in values if first.get(number)]

    @staticmethod
    def remarks(row, names):
        """Yields remarks on losses, and on rounds in which the generator was the limit."""
        for name, what in (("lost", "messages lost"), ("strays", "unexpected echoes")):
            count = round(sum(names.get(name, {}).values()))
            if count:
                of = round(sum(names["messages"].values()))
                yield f"- {row}: {count:,} {what}; {of:,} echoes came back."
        rounds = names.get("limited", {})
        if any(rounds.values()):
            limited = round(sum(rounds.values()))
            yield f"- {row}: the generator was the limit in {limited} of {len(rounds)} rounds."
