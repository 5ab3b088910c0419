"""The autoencoder of latent flows: its training, its published weights, and the decoder that removes noise."""
