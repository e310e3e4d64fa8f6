"""A census of the Python standard library: what is in it, counted by workers, one job a file.

`tasks.py` is the work, `caller.py` hands it out and collects it, `rules.yaml` says how fast files may be read.
`headworks demo` runs it.
"""
