"""Who proposes trials, and what they may know."""
