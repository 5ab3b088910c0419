"""Worked examples: functions that compute measurements and draw figures into a folder (``tenfold.api.examples`` runs
them)."""
