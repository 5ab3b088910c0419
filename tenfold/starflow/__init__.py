"""STARFlow: deep-shallow autoregressive flows in an autoencoder's latent space, guided by class and text."""
