"""One trial: the reference engine, as everybody would write it in Lightning."""
