"""Provenance: where a file comes from, asked of the file itself.

`stamped_page.py` puts a stamp into an HTML page and reads it back; `tracing.py` finds the stamp of any file that the
platform wrote, in its sidecar, in the page or in a home, and says whether the file is still what was written.
"""
