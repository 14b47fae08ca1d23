"""The names of the fields of a batch."""

OBSERVED = "observed"
FUTURE = "future"
LABEL = "label"
LABELED = "labeled"
INDEX = "index"
