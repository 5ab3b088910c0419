"""The verbs ``tenfold shifts``, ``tenfold discrepancy`` and ``tenfold dynamics``."""
