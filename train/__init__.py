"""The command lines that train and evaluate."""
