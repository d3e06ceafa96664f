"""The report: one self-contained page that says what was found, and how sure it is."""

from trimtab.page.render import write_report

__all__ = ["write_report"]
