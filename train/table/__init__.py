"""Tables of experiments: the runs of every row, split and seed, and their scores."""
