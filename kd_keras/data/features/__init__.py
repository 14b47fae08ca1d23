"""Features that another network extracted from videos, in place of their frames."""
