"""Deliberate defects, each of which a test must catch: whether the tests can fail."""
