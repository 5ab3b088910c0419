"""Text as models read it: tokenizers, frozen networks and their vectors, models that count, log-likelihoods."""
