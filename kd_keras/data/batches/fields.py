"""The names of the fields of a batch."""

OBSERVED = "observed"
FUTURE = "future"
LABEL = "label"
LABELED = "labeled"
INDEX = "index"
# What the teacher says of the future clips, if it is known already.
TEACHER_PROBABILITIES = "teacher_probabilities"
TEACHER_FEATURES = "teacher_features"
