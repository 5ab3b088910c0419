"""Training on towards something else than the data: the task of each way, composed over one object that masks and
predicts (``noising.Masks``); settings and recipes of all are in ``recipes``."""
