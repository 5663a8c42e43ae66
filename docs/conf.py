"""The documentation site; `make site` builds it. Of a broken link Sphinx warns, which ends it."""

from harness import __version__

project = "vmapbench"
release = __version__
extensions = ["myst_parser"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"vmapbench {__version__}"
html_copy_source = False
