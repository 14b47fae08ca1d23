"""What is said of a data set's labels: at the start of a run, and by --check."""

from kd_keras.data import check_labels
from kd_keras.data.tables import stop_at

# Their annotations are the user's to mend. Releases are taken as they are: published
# counts include the one action of THUMOS14 that has two labels.
_OWN_ANNOTATIONS = ("csv", "demo")


def problems(options, index):
    """Returns a sentence for each label that cannot be right.

    Args:
        options: The run's `Data`.
        index: With every label.
    """
    if options.dataset not in _OWN_ANNOTATIONS:
        return []
    return check_labels.contradictions(index.segments)


def remarks(options, index):
    """Returns a sentence for each label that may be wrong; see `problems`."""
    found = check_labels.remarks(index)
    if options.dataset not in _OWN_ANNOTATIONS:
        found += check_labels.contradictions(index.segments)
    return found


def look_over(options, index):
    """Prints the remarks; raises a ValueError that shows the problems, if any."""
    for remark in remarks(options, index):
        print(f"Remark: {remark}", flush=True)
    # Prepared data was looked over with its annotations at hand.
    if options.records is None:
        stop_at("The data set", problems(options, index))
