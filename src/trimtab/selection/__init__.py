"""Statistics of choosing and testing: pure functions on arrays."""
