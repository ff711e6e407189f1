"""How many writes a second are claimed, sent and settled against a target that answers at once."""
