"""django-simple-history has its settings in its ``runtests.py``."""

from runtests import get_default_settings  # type: ignore[import-not-found]

globals().update(get_default_settings())
