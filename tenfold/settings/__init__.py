"""Typed settings from the command line, YAML, JSON and Python, through one reader.

Settings are frozen dataclasses. ``values`` reads one value of a type, or says in one sentence what is wrong with it;
``changes`` does so for whole dataclasses, ``yaml_files`` and ``command`` bring what a file and a line say;
``options`` are those of a verb and of a reader of checkpoints. Imports no PyTorch and no NumPy.
"""
