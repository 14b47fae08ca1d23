"""Marks the tests that take too long for `make test`."""

import os

import pytest


def run_by(target):
    """Returns the mark of a test that only this target of the Makefile runs."""
    return pytest.mark.skipif(
        "KD_KERAS_LONG_TESTS" not in os.environ, reason=f"Long: make {target} runs it."
    )
