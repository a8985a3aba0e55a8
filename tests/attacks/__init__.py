"""The attack corpus: what a dishonest or unlucky student hands in, and what must come of it."""
