"""Prepared data: clips and features as TFRecords, and the data set beside them."""
