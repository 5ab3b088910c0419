"""Networks that predict clean tokens (transformer, DiT, hollow), the one that reads from left to right, the density
ratio, and tables for enumerable worlds."""
