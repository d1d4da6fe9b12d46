"""User instructions of a process, in total and by function, from the file of callgrind."""

import re

NAME = re.compile(r"c?fn=\((\d+)\)(?: (.*))?$")
HASH = re.compile(r"::h[0-9a-f]{16}$")


def read(path):
    """Returns instructions by function without callees. The file spells out each name once."""
    names, functions = {}, {}
    name, is_of_call = None, False
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            found = NAME.match(line)
            if found:
                if found.group(2):
                    names[found.group(1)] = HASH.sub("", found.group(2))
                if line.startswith("fn="):
                    name = names[found.group(1)]
            elif line.startswith("calls="):
                # The cost in the next line belongs to the callee.
                is_of_call = True
            elif line[:1] in "+-*0123456789" and name:
                if not is_of_call:
                    functions[name] = functions.get(name, 0) + int(line.split()[-1])
                is_of_call = False
    return functions


def difference(more, less):
    """Returns the difference of the two runs by function, largest first."""
    above = {name: count - less.get(name, 0) for name, count in more.items()}
    return dict(sorted(above.items(), key=lambda pair: -pair[1]))
