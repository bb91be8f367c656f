"""Bring packages into this environment: with uv where it can be had, else with pip.

`python -m services.parts.installing [--installer auto|uv|pip] [--extras cpu,train] [FOLDER]`
installs the project in FOLDER (the working folder by default), editable; the Makefile runs it in
an environment that holds pip and nothing else.

uv is several times as fast, and knows nothing of what pip was told: indexes, folders of wheels and
constraints of pip's own configuration are handed on to it, so that both install the same.
"""

import argparse
import ast
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from typing import Final
from urllib.error import URLError

TORCH_CPU: Final = "https://download.pytorch.org/whl/cpu"
_PROBE_SECONDS: Final = 3.0
_PYTHON: Final = sys.executable
# Of pip's configuration → uv's option; the key is what follows the last dot.
_HANDED_ON: Final = {
    "index-url": "--default-index",
    "extra-index-url": "--index",
    "find-links": "--find-links",
    "constraint": "--constraint",
    "trusted-host": "--allow-insecure-host",
}

Told = Callable[[str], None]
Run = Callable[[Sequence[str], Told], int]


def install(
    wanted: Sequence[str],
    *,
    told: Told,
    installer: str = "auto",
    again: Sequence[str] = (),
    torch_index: str | None = None,
    run: Run | None = None,
) -> bool:
    """Install requirements, and say what is being done as it is done.

    Args:
        wanted: As pip takes them, for example ["torch>=2.9,<3"] or ["--editable", ".[cpu]"].
        told: Takes each line that the installer prints.
        installer: "auto" tries uv and falls back to pip; "uv" and "pip" take one alone.
        again: Names of packages to install anew though they seem to be there.
        torch_index: Index of torch builds for machines without a GPU; None for none.
        run: Runs a command and hands its lines on; `follow` by default.

    Returns:
        Whether all of it is installed.
    """
    run = run or follow
    extra = ["--extra-index-url", torch_index] if torch_index else []
    if installer != "pip":
        uv = _uv(told, run)
        if uv:
            indexes = [*pip_settings(), *(["--index", torch_index] if torch_index else [])]
            command = [*uv, "pip", "install", "--python", _PYTHON, *indexes]
            # As pip does: the newest release that fits, whichever index has it.
            command += ["--index-strategy", "unsafe-best-match"]
            anew = [word for name in again for word in ("--reinstall-package", name)]
            if run([*command, *anew, *wanted], told) == 0:
                return True
        if installer == "uv":
            return False
        told("uv cannot install it here; pip does, which takes a few times as long")
    command = [_PYTHON, "-m", "pip", "install", "--progress-bar", "off", *extra]
    if again and run([*command, "--force-reinstall", "--no-deps", *again], told) != 0:
        return False
    return run([*command, *wanted], told) == 0


def pip_settings() -> list[str]:
    """Return what pip was told by files and variables, as options of uv's."""
    done = subprocess.run(  # noqa: S603 - pip of this environment
        [_PYTHON, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    found = []
    for line in done.stdout.splitlines():
        name, sign, value = line.partition("=")
        option = _HANDED_ON.get(name.rpartition(".")[2])
        if sign and option:
            words = str(ast.literal_eval(value)).split()
            found += [word for each in words for word in (option, each)]
    return found


def torch_cpu_index(index: str = TORCH_CPU) -> str | None:
    """Return the index of torch's CPU builds, a tenth of the others' size, where it can be had.

    None where a GPU's driver answers, or the index does not within a few seconds.
    """
    if shutil.which("nvidia-smi"):
        return None
    asked = urllib.request.Request(f"{index}/torch/", method="HEAD")  # noqa: S310 - https or a test's own
    try:
        with urllib.request.urlopen(asked, timeout=_PROBE_SECONDS):  # noqa: S310 - likewise
            return index
    except (URLError, TimeoutError, ConnectionError):
        return None


def uv_version() -> str:
    """Return which uv would install here; "" for none."""
    lines: list[str] = []
    for command in ([_PYTHON, "-m", "uv"], [shutil.which("uv") or ""]):
        if command[0] and follow([*command, "--version"], lines.append) == 0:
            return lines[-1]
    return ""


def follow(command: Sequence[str], told: Told) -> int:
    """Run a command, hand on each line that it prints, and return its exit status."""
    try:
        with subprocess.Popen(  # noqa: S603 - uv or pip
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as child:
            try:
                for line in child.stdout or ():
                    if line.strip():
                        told(line.strip())
            except BaseException:
                child.terminate()
                raise
    except OSError as error:
        told(f"{command[0]} cannot be run: {error.strerror}")
        return 1
    return child.returncode


def follow_gently(command: Sequence[str], told: Told) -> int:
    """Run a command as `follow` does, behind everything else that wants the processor."""
    nice = [shutil.which("nice") or "", "-n", "10"]
    return follow([*(nice if nice[0] else []), *command], told)


def _uv(told: Told, run: Run) -> list[str]:
    """Return the command of uv, brought into this environment by pip where it is not there."""
    here = [_PYTHON, "-m", "uv"]
    if run([*here, "--version"], lambda _line: None) == 0:
        return here
    if found := shutil.which("uv"):
        return [found]
    quiet = [_PYTHON, "-m", "pip", "install", "--quiet", "--progress-bar", "off", "uv"]
    if run(quiet, told) == 0 and run([*here, "--version"], told) == 0:
        return here
    return []


def main(words: Sequence[str] | None = None) -> int:
    """Install the project as the command line says; return the exit status."""
    parser = argparse.ArgumentParser(prog="installing", description="Install Rightly.")
    parser.add_argument("folder", nargs="?", default=".", help="the project's folder")
    parser.add_argument("--extras", default="cpu", help="parts, separated by commas")
    parser.add_argument("--installer", choices=("auto", "uv", "pip"), default="auto")
    given = parser.parse_args(words)
    began, last = time.monotonic(), ""

    def told(line: str) -> None:
        nonlocal last
        last = line
        if line.startswith(("Resolved", "Prepared", "Installed", "error", "ERROR", "uv cannot")):
            sys.stderr.write(f"  {line}\n")

    parts = given.extras.split(",")
    sys.stderr.write(f"installing {', '.join(parts)}\n")
    index = torch_cpu_index() if "train" in parts else None
    wanted = ["--editable", f"{given.folder}[{given.extras}]"]
    if not install(wanted, told=told, installer=given.installer, torch_index=index):
        sys.stderr.write(f"not installed: {last}\n")
        return 1
    sys.stderr.write(f"installed in {time.monotonic() - began:.0f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
