"""The training loop, and what may end, save or continue it."""
