"""The names of the fields of a batch."""

OBSERVED = "observed"
FUTURE = "future"
LABEL = "label"
LABELED = "labeled"
INDEX = "index"
# Of a mixture of two pairs: the label of the second, and the weight of the first.
OTHER_LABEL = "other_label"
MIXUP_WEIGHT = "mixup_weight"
# What the teacher says of the future clips, if it is known already.
TEACHER_PROBABILITIES = "teacher_probabilities"
TEACHER_FEATURES = "teacher_features"
