"""How the site is built: Sphinx reads the Markdown pages of this folder with MyST and dresses them with Furo."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

project = "Image classification with CNNs: course and autograder"
author = "the contributors of the course"
copyright = "the contributors; text CC BY 4.0, code MIT"
html_title = "CNN course and autograder"

extensions = ["myst_parser", "made_from_code"]
myst_heading_anchors = 4
# A folder may have no page yet beside those that its index names.
suppress_warnings = ["toc.empty_glob"]
exclude_patterns = ["made_from_code.py"]

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
# One page that needs nothing but the files beside it: no fonts, scripts or pictures from elsewhere.
html_theme_options = {"navigation_with_keys": True}
smartquotes = False
highlight_language = "text"
