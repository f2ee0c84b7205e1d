"""Texts that hold what comes from elsewhere, made safe to print and to log."""

import re

__all__ = ["brief", "by_and_why", "counted", "printable", "shortened", "without_credentials", "without_passwords"]

# What stands between "://" and the last "@" before a blank or a quote.
_CREDENTIALS = re.compile(r"(?<=://)[^\s'\"]*(?=@)")

# How much of a name or an object is told in a line, in characters.
_BRIEF = 300

# How long an error may be, and of how much of a longer one credentials are looked for, in characters.
_LONGEST = 2000
_LOOKED_AT = 10_000


def printable(text: object) -> str:
    """``str(text)`` in one line: control characters are written out, line feeds and terminals' escape sequences say.

    Names, objects and errors hold what a project's users typed; none of it may pass for a line of a log, or move the
    cursor of the terminal that it is shown on.
    """
    plain = str(text)
    if plain.isprintable():
        return plain
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in plain)


def shortened(text: str, most: int) -> str:
    """The beginning of a text, and how long it is, if it has more than so many characters."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


def brief(text: str) -> str:
    """``printable(text)``, for a name or an object that is told in a line: all of it, unless it is longer than most."""
    return printable(shortened(text, _BRIEF))


def without_passwords(text: object) -> str:
    """``printable(text)`` without the user and password of any URI in it: other libraries' errors may quote one.

    Of a text of more than 2,000 characters it is the beginning: it goes into a line of a log, or a column.
    """
    whole = str(text)
    if len(whole) <= _LOOKED_AT:
        return shortened(without_credentials(printable(whole)), _LONGEST)
    # A URI that is cut in two would not be known for one with a password.
    beginning = whole[:_LOOKED_AT].rpartition("://")[0] or whole[:_LOOKED_AT]
    return f"{without_credentials(printable(beginning))[:_LONGEST]}… ({len(whole):,} characters)"


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
