"""What is known against the versions that setup.cfg allows, the oldest and the newest: ``make audit``.

It asks PyPI, so it needs the internet. pip-audit, as it is the packaging authority's own tool, and asks their database.
"""

import configparser
import re
import subprocess
import sys
from pathlib import Path

__all__ = ["oldest", "required"]

ROOT = Path(__file__).parent.parent


def required() -> list[str]:
    """What the library needs, as setup.cfg has it."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["options"]["install_requires"].splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def oldest(requirements: list[str] | None = None) -> list[str]:
    """The oldest version of each that is allowed; of what the library needs, if nothing is given.

    Raises:
        ValueError: One allows any version.
    """
    requirements = required() if requirements is None else requirements
    if boundless := [each for each in requirements if not re.match(r"[\w.-]+(\[.+\])?>=", each)]:
        raise ValueError(f"setup.cfg has no lower bound for {', '.join(boundless)}.")
    return [each.replace(">=", "==", 1) for each in requirements]


def audit(name: str, requirements: list[str]) -> bool:
    """Whether nothing is known against any of them, or what they need; prints what is."""
    path = ROOT / "build" / "audit" / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(requirements) + "\n")
    print(f"The {name} versions:", flush=True)
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(path), "--progress-spinner", "off", "--strict"]
    return subprocess.run(command, check=False).returncode == 0


if __name__ == "__main__":
    results = [audit("newest", required()), audit("oldest", oldest())]
    sys.exit(not all(results))
