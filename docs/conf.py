"""The site, built by ``make docs``.

Sphinx: it makes the reference of the Python names from their docstrings, ends at a wrong link or name, is well kept.
Furo: it reads well on a phone, and in the dark. MyST: the pages are Markdown, which GitHub shows, too. (Material for
MkDocs is in maintenance, Zensical, its successor, is at 0.1, and neither reads docstrings by itself.)
"""

import os
import sys
from pathlib import Path

import django

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.project.settings")
django.setup()

from django_events_sourcing import __version__  # noqa: E402

project = "django-events-sourcing"
release = version = __version__
html_title = f"{project} {release}"
html_theme = "furo"
html_show_copyright = False
html_copy_source = False

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
napoleon_use_ivar = True
nitpicky = True
# The names of other projects: to find them takes the network.
nitpick_ignore_regex = [("py:.*", r"(django|datetime|collections|uuid|typing|health_check|prometheus_client)\..*")]
