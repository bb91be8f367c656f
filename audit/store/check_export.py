"""Checks an unpacked audit export; copied into every bundle, so it needs nothing but Python.

    python check.py FOLDER

Exit status 0 and a summary, or 1 and what does not fit. What it can show: nothing in the bundle
was changed, left out or moved since the chain was made, and the chain passes through the anchors
beside it. What it cannot show: that the anchors are genuine; compare them with copies that were
kept elsewhere.
"""

import base64
import hashlib
import hmac
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def problems(folder: Path) -> Iterator[str]:
    """Yield a sentence for everything in an unpacked bundle that does not fit."""
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    for name, digest in manifest["sha256"].items():
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
            yield f"{name} is not the file that the manifest describes"
    anchors = _anchors(folder)
    expected, link = manifest["first"], manifest["before"]
    for line in (folder / "events.jsonl").read_text("utf-8").splitlines():
        event = json.loads(line)
        yield from _event_problems(event, expected, link)
        for anchored in anchors.get(event["header"]["seq"], ()):
            if anchored != event["link"]:
                yield f"event {expected}: an anchor has another link"
        expected, link = event["header"]["seq"] + 1, event["link"]
    if expected != manifest["last"] + 1:
        yield f"the bundle ends with event {expected - 1}, not {manifest['last']}"


def _event_problems(event: dict[str, Any], expected: int, link: str) -> Iterator[str]:
    header = event["header"]
    if header["seq"] != expected:
        yield f"event {expected} is missing or moved"
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    if hashlib.sha256((link + text).encode()).hexdigest() != event["link"]:
        yield f"event {header['seq']}: its link does not follow from the one before"
    if event["body"] is not None:
        secret = base64.b64decode(event["secret"])
        commitment = hmac.new(secret, event["body"].encode(), hashlib.sha256).hexdigest()
        if commitment != header["commitment"]:
            yield f"event {header['seq']}: its content does not fit its commitment"


def _anchors(folder: Path) -> dict[int, list[str]]:
    anchors: dict[int, list[str]] = {}
    for line in (folder / "anchors.jsonl").read_text("utf-8").splitlines():
        anchor = json.loads(line)
        anchors.setdefault(anchor["seq"], []).append(anchor["link"])
    return anchors


def main() -> int:
    """Check the folder that the command line names, or the one of this file."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    found = list(problems(folder))
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    span = f"events {manifest['first']} to {manifest['last']}"
    sys.stdout.write("\n".join(found or [f"intact: {span}, {manifest['erased']} erased"]) + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
