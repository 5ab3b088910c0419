"""Training on towards something else than the data: each way is a folder, its settings and recipes beside its task,
composed over one object that masks and predicts (``noising.Masks``)."""
