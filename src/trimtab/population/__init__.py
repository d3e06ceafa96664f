"""Many trials in one tensor program. Begin with `engine.py`; `flat.py` says how the members' weights lie in memory."""
