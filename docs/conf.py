"""How the site is built: Sphinx reads the Markdown pages of this folder with MyST and dresses them with Furo."""

project = "Image classification with CNNs: course and autograder"
author = "the contributors of the course"
copyright = "the contributors; text CC BY 4.0, code MIT"
html_title = "CNN course and autograder"

extensions = ["myst_parser", "autograder.reference"]
myst_heading_anchors = 4

html_theme = "furo"
html_static_path = ["static"]
html_js_files = ["site.js"]
html_copy_source = False
html_show_sourcelink = False
# One page that needs nothing but the files beside it: no fonts, scripts or pictures from elsewhere.
html_theme_options = {"navigation_with_keys": True}
smartquotes = False
highlight_language = "text"
