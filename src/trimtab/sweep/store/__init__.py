"""The study on disk: its journal, its tables, and how others read it."""
