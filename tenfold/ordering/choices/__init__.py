"""Multiple choice: items, the texts that are made of them, their scores, and the rules that choose."""
