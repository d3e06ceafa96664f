"""Seeds derived from the study's, one per trial and purpose, equal on every machine."""

from hashlib import sha256


def derive(study_seed: int, number: int, purpose: str = "") -> int:
    """First four bytes of sha256(study seed, number), so that it also suits NumPy (below 2**32).

    `purpose` keeps streams apart: a trial's own seed has none, its sampler's is "ask".
    """
    text = f"{purpose}{study_seed},{number}"
    return int.from_bytes(sha256(text.encode()).digest()[:4], "big")
