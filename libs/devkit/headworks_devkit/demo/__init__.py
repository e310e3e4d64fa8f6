"""The demo: the whole suite once, on a census of the standard library, with everything counted."""
