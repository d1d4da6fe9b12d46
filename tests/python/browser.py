"""Looks at a page in headless Chromium, by the DevTools protocol.

browser.py CHROMIUM PAGE WIDTH SCHEME SCRIPTS: opens the file at this width (in CSS pixels), with the
color scheme `light` or `dark`, and with scripts `on` or `off`. Prints what it found as JSON.
"""

import base64
import json
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request

# A busy machine may take long to start a browser.
WAIT_MAX_S = 60

# More figures and tables than any page has.
TABS_MAX = 400


class Page:
    """One tab, by a WebSocket (RFC 6455). Messages of this use are texts."""

    def __init__(self, address):
        host, path = address.removeprefix("ws://").split("/", 1)
        name, port = host.split(":")
        self.stream = socket.create_connection((name, int(port)), WAIT_MAX_S)
        key = base64.b64encode(os.urandom(16)).decode()
        self.stream.sendall(
            f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.read(1)
        self.calls = 0
        self.events = []

    def read(self, count):
        data = b""
        while len(data) < count:
            part = self.stream.recv(count - len(data))
            if not part:
                raise EOFError("the browser closed the connection")
            data += part
        return data

    def receive(self):
        text, is_last = b"", False
        while not is_last:
            first, second = self.read(2)
            is_last, length = bool(first & 0x80), second & 0x7F
            if length == 126:
                (length,) = struct.unpack(">H", self.read(2))
            elif length == 127:
                (length,) = struct.unpack(">Q", self.read(8))
            text += self.read(length)
        return json.loads(text)

    def call(self, method, **parameters):
        self.calls += 1
        data = json.dumps({"id": self.calls, "method": method, "params": parameters}).encode()
        # A client masks its messages; a mask of zeros is one.
        self.stream.sendall(b"\x81\xff" + struct.pack(">Q", len(data)) + b"\0\0\0\0" + data)
        while True:
            message = self.receive()
            if message.get("id") == self.calls:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def wait_for(self, method):
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self.receive())

    def value(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def press(self, key, code):
        for kind in ("rawKeyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code
            )


def start(chromium, folder):
    browser = subprocess.Popen(
        [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )
    for line in browser.stderr:
        found = re.search(r"DevTools listening on ws://([^/]+)/", line)
        if found:
            break
    else:
        raise EOFError("the browser did not start")
    deadline = time.monotonic() + WAIT_MAX_S
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"http://{found[1]}/json", timeout=WAIT_MAX_S) as reply:
            pages = [tab for tab in json.load(reply) if tab["type"] == "page"]
        if pages:
            return browser, Page(pages[0]["webSocketDebuggerUrl"])
    raise TimeoutError("the browser has no tab")


def figures_reached(page):
    """Goes through the page by the Tab key. Returns the figures that had the focus."""
    reached = []
    for _ in range(TABS_MAX):
        page.press("Tab", 9)
        where = page.value(
            "(() => { const at = document.activeElement;"
            " if (at === document.body) return null;"
            " return at.matches('.plot') ? at.closest('figure').id : ''; })()"
        )
        if where is None:
            break
        if where and where not in reached:
            reached.append(where)
            page.press("ArrowRight", 39)
    return reached


def look(page, path, width, scheme, has_scripts):
    for domain in ("Page", "Runtime", "Log", "Network"):
        page.call(f"{domain}.enable")
    page.call("Emulation.setScriptExecutionDisabled", value=not has_scripts)
    page.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1,
              mobile=False)
    page.call("Emulation.setEmulatedMedia",
              features=[{"name": "prefers-color-scheme", "value": scheme}])
    page.events.clear()
    address = "file://" + os.path.abspath(path)
    page.call("Page.navigate", url=address)
    page.wait_for("Page.loadEventFired")
    names = page.value("[...document.querySelectorAll('figure')].map(figure => figure.id)")
    found = {
        "figures": names,
        "title": page.value("document.title"),
        "text": page.value("document.body.innerText"),
        "images": page.value("document.querySelectorAll('img').length"),
        "widths": page.value("[document.documentElement.scrollWidth, innerWidth]"),
        "drawn": page.value("document.querySelectorAll('.plot .uplot canvas').length"),
        "pictures": page.value(
            "[...document.querySelectorAll('.plot > svg')]"
            ".filter(svg => svg.getBoundingClientRect().height > 50).length"
        ),
        "background": page.value("getComputedStyle(document.body).backgroundColor"),
        "reached": figures_reached(page),
        "read": page.value(
            "[...document.querySelectorAll('.reading')].map(reading => reading.textContent)"
        ),
    }
    requests = [event["params"]["request"]["url"] for event in page.events
                if event.get("method") == "Network.requestWillBeSent"]
    found["requests"] = [url for url in requests if url != address]
    found["errors"] = [
        json.dumps(event["params"]) for event in page.events
        if event.get("method") == "Runtime.exceptionThrown"
        or (event.get("method") == "Log.entryAdded"
            and event["params"]["entry"]["level"] in ("error", "warning"))
        or (event.get("method") == "Runtime.consoleAPICalled"
            and event["params"]["type"] in ("error", "warning", "assert"))
    ]
    return found


def main():
    chromium, path, width, scheme, scripts = sys.argv[1:]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browser, page = start(chromium, folder)
        try:
            found = look(page, path, int(width), scheme, scripts == "on")
        finally:
            browser.kill()
            browser.wait()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
