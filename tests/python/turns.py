"""Steps through the page of a trace in headless Chromium.

turns.py CHROMIUM PAGE [PICTURE]: presses the keys of the page, and prints what it then shows as
JSON. With PICTURE, also saves how the page looks in its busiest turn.
"""

import base64
import json
import os
import sys
import tempfile

from browser import start

KEYS = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Home": 36, "End": 35}

TURN = "Number(document.body.dataset.turn)"
LIT = "[...document.querySelectorAll('.code .lit')].map(line => line.textContent)"
PHASE = "document.querySelector('button[aria-pressed=true]').textContent"
SLIDER = "document.querySelector('input[type=range]')"
BUSIEST = (
    "(() => { const turns = JSON.parse(document.getElementById('data').textContent).loops[0].turns;"
    " const size = turn => turn[12].filter(record => record[0] === 1).length;"
    " return turns.map(size).indexOf(Math.max(...turns.map(size))); })()"
)


def press(page, name):
    page.press(name, KEYS[name])
    return page.value(TURN)


def look(page, path, picture):
    for domain in ("Page", "Runtime", "Log", "Network"):
        page.call(f"{domain}.enable")
    page.call("Emulation.setDeviceMetricsOverride", width=1300, height=1150, deviceScaleFactor=1,
              mobile=False)
    page.events.clear()
    address = "file://" + os.path.abspath(path)
    page.call("Page.navigate", url=address)
    page.wait_for("Page.loadEventFired")
    found = {"first": page.value(TURN)}
    found["next"] = [press(page, "ArrowRight") for _ in range(3)]
    found["previous"] = press(page, "ArrowLeft")
    found["last"] = press(page, "End")
    found["beyond"] = press(page, "ArrowRight")
    found["home"] = press(page, "Home")
    at = page.value(BUSIEST)
    page.value(f"{SLIDER}.value = {at}, {SLIDER}.oninput()")
    found["text"] = page.value("document.body.innerText")
    found["lit"] = {}
    for _ in range(4):
        found["lit"][page.value(PHASE)] = page.value(LIT)
        press(page, "ArrowDown")
    page.value("[...document.querySelectorAll('button')].find(b => b.textContent === 'Next').click()")
    found["clicked"] = page.value(f"Number({SLIDER}.value)") - at
    if picture:
        page.value(f"{SLIDER}.value = {at}, {SLIDER}.oninput()")
        data = page.call("Page.captureScreenshot")["data"]
        with open(picture, "wb") as file:
            file.write(base64.b64decode(data))
    requests = [event["params"]["request"]["url"] for event in page.events
                if event.get("method") == "Network.requestWillBeSent"]
    found["requests"] = [url for url in requests if url != address]
    found["errors"] = [
        json.dumps(event["params"]) for event in page.events
        if event.get("method") == "Runtime.exceptionThrown"
        or (event.get("method") == "Log.entryAdded"
            and event["params"]["entry"]["level"] in ("error", "warning"))
    ]
    return found


def main():
    chromium, path, *picture = sys.argv[1:]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browser, page = start(chromium, folder)
        try:
            found = look(page, path, picture[0] if picture else None)
        finally:
            browser.kill()
            browser.wait()
    print(json.dumps(found))


main()
