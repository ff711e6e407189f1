"""The commands, a module for each group; `register(app)` of each puts its commands on the root."""
