"""The command lines that package a student and check what was written."""
