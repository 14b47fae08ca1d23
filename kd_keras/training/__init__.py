"""Training of any network: gradients, memory, precision, and training from labels."""
