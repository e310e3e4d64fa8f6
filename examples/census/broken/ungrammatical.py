"""Broken on purpose: this is no Python."""

def flow(water):
    if water >< 3:
        return the level
