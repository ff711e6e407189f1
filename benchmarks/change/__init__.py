"""How long a sync of a few changed records takes, in a worker that has synced before."""
