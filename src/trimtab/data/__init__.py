"""Sources, checks, split, seal, preprocessing."""
