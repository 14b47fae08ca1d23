"""Clips: their shape, their frames, how they are augmented, and a loader of them."""
