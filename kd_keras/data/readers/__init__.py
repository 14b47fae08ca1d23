"""Readers of annotations: a user's CSV and the released data sets, as an `Index`."""
