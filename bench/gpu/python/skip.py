class Skip(Exception):
    """This configuration cannot be had here; the message says why."""
