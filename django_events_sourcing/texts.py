"""Texts that hold what comes from elsewhere, made safe to print and to log."""

import re

__all__ = ["by_and_why", "counted", "printable", "without_credentials", "without_passwords"]

# What stands between "://" and the last "@" before a blank or a quote.
_CREDENTIALS = re.compile(r"(?<=://)[^\s'\"]*(?=@)")


def printable(text: object) -> str:
    """``str(text)`` in one line: control characters are written out, line feeds and terminals' escape sequences say.

    Names, objects and errors hold what a project's users typed; none of it may pass for a line of a log, or move the
    cursor of the terminal that it is shown on.
    """
    plain = str(text)
    if plain.isprintable():
        return plain
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in plain)


def without_passwords(text: object) -> str:
    """``printable(text)`` without the user and password of any URI in it: other libraries' errors may quote one."""
    return without_credentials(printable(text))


def without_credentials(text: str) -> str:
    """The same text, but for the user and password of any URI in it."""
    return _CREDENTIALS.sub("…", text)


def counted(number: int, noun: str, verbs: tuple[str, str] | None = None) -> str:
    """So many of something, and what they do.

    Args:
        number: How many.
        noun: Of one; of many it has an "s": "1 event", "20,001 events".
        verbs: Of one, and of many: "1 event waits", "20,001 events wait".
    """
    are_many = number != 1
    verb = f" {verbs[are_many]}" if verbs else ""
    return f"{number:,} {noun}{'s' if are_many else ''}{verb}"


def by_and_why(who: str, why: str) -> str:
    """What follows something that somebody did: " by anna: deploy", as far as it is known."""
    return (f" by {who}" if who else "") + (f": {why}" if why else "")
