"""Text in, text out: completions, files of prompts, and what other programs ask of a model."""
