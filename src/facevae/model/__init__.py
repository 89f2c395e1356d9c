"""Tensors in, tensors out: the networks, their loss, and the geometry of the latent space. Touches no file."""
