"""Texts of characters, of code and of tokens: splits, and rows of equally many tokens."""
