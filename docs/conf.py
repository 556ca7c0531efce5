"""Sphinx: ``make doc``, and rosdoc2, which adds its own settings (rosdoc2.yaml)."""

project = "esr_ros"
author = copyright = "The esr_ros developers"
extensions = ["sphinx.ext.autodoc", "myst_parser"]
autodoc_mock_imports = ["matplotlib", "onnx", "torch", "yaml"]
autodoc_typehints_format = "short"
exclude_patterns = [".*", "build", "checkpoints", "data", "install", "log", "temp"]
exclude_patterns += ["esr_core", "CHANGELOG.rst"]
# Linked pages; links to what rosdoc2 does not copy (test_pages.py checks them); mermaid.
suppress_warnings = ["toc.not_included", "myst.xref_missing", "misc.highlighting_failure"]
# The anchors that the pages link to, as GitHub makes them.
myst_heading_anchors = 4
