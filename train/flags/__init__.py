"""The flags of a run: each defined once, and frozen dataclasses of their values."""
