"""A plugin of pytest's: Django finds psycopg 2 only, as where psycopg 3 is not installed.

The tests' own sessions stay psycopg 3's.
"""

import sys
from importlib import import_module
from typing import Any

_psycopg = sys.modules.get("psycopg")
_modules: dict[str, Any] = sys.modules
_modules["psycopg"] = None
try:
    import_module("django.db.backends.postgresql.base")
finally:
    del _modules["psycopg"]
    if _psycopg:
        _modules["psycopg"] = _psycopg
