"""The command line: argument parsing and printing, nothing else; the verbs live in ``tenfold.api``."""
