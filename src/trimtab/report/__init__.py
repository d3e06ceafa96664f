"""The report: one self-contained page that says what was found, and how sure it is."""

from trimtab.report.page import write_report

__all__ = ["write_report"]
