"""The `main` of every Bazel test target: pytest on the files that its `args` name."""

import os
import sys

import pytest


def main() -> int:
    """Runs pytest the way Bazel asks through its test environment variables."""
    # The runfiles may be read-only, so no cache is kept there.
    args = ["-p", "no:cacheprovider", *sys.argv[1:]]
    if report := os.environ.get("XML_OUTPUT_FILE"):
        args.append(f"--junitxml={report}")
    # What `bazel test --test_filter` was given.
    if name_filter := os.environ.get("TESTBRIDGE_TEST_ONLY"):
        args += ["-k", name_filter]
    return pytest.main(args)


if __name__ == "__main__":
    sys.exit(main())
