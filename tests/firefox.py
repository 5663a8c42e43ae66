"""Debian's Firefox, driven by WebDriver BiDi, which it speaks itself: no driver program needed."""

import base64
import json
import re
import subprocess
import time
from contextlib import contextmanager

from websockets.sync.client import connect

PROGRAM = "/usr/bin/firefox-esr"
_PREFERENCES = {
    "browser.download.folderList": 2,  # the folder named by browser.download.dir
    "browser.download.useDownloadDir": True,
    "browser.aboutwelcome.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
}


class Firefox:
    """A tab. `said`: console and error messages; `asked`: URLs that the page requested."""

    def __init__(self, socket):
        self._socket, self._sent = socket, 0
        self.said, self.asked = [], []
        self.version = self._send("session.new", capabilities={})["capabilities"]["browserVersion"]
        self._send("session.subscribe", events=["log.entryAdded", "network.beforeRequestSent"])
        self._tab = self._send("browsingContext.getTree")["contexts"][0]["context"]

    def open(self, url, width=1280, height=900):
        """Load a page and wait until all of it is there."""
        viewport = {"width": width, "height": height}
        self._send("browsingContext.setViewport", context=self._tab, viewport=viewport)
        self._send("browsingContext.navigate", context=self._tab, url=url, wait="complete")

    def evaluate(self, expression):
        """Return the value of an expression, a promise's once it is kept, through JSON."""
        wrapped = f"(async () => JSON.stringify((await ({expression})) ?? null))()"
        target = {"context": self._tab}
        answer = self._send(
            "script.evaluate", expression=wrapped, target=target, awaitPromise=True,
            userActivation=True,
        )  # fmt: skip
        assert answer["type"] == "success", answer
        return json.loads(answer["result"]["value"])

    def screenshot(self, path):
        """Keep what the whole page looks like."""
        shot = self._send("browsingContext.captureScreenshot", context=self._tab, origin="document")
        path.write_bytes(base64.b64decode(shot["data"]))

    def _send(self, method, **params):
        self._sent += 1
        self._socket.send(json.dumps({"id": self._sent, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == self._sent:
                assert message["type"] == "success", message
                return message["result"]
            self._note(message)

    def _note(self, event):
        if event.get("method") == "log.entryAdded":
            self.said.append(str(event["params"]["text"]))
        elif event.get("method") == "network.beforeRequestSent":
            self.asked.append(event["params"]["request"]["url"])


@contextmanager
def running_firefox(profile, downloads):
    """Yield a Firefox with a new profile in `profile` that saves into `downloads`, both folders."""
    preferences = {**_PREFERENCES, "browser.download.dir": str(downloads)}
    lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});\n" for k, v in preferences.items()]
    (profile / "user.js").write_text("".join(lines))
    argv = [PROGRAM, "--headless", "--no-remote", "--profile", profile, "--remote-debugging-port=0"]
    log = profile / "stderr.log"
    with log.open("w") as stderr, subprocess.Popen(argv, stdout=stderr, stderr=stderr) as process:
        try:
            with connect(
                f"{_address(log, process)}/session", max_size=None, proxy=None, close_timeout=1
            ) as socket:
                yield Firefox(socket)
        finally:
            process.kill()  # asked to close, it may take minutes on a busy machine


def _address(log, process):
    """Return where the browser listens, once it says so."""
    while process.poll() is None:
        if found := re.search(r"BiDi listening on (ws://\S+)", log.read_text(errors="replace")):
            return found[1]
        time.sleep(0.1)
    raise AssertionError(f"Firefox did not start: {log.read_text(errors='replace')[-2000:]}")
