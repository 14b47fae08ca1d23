"""The Python rules that Bazel 4 has built in, under the name @rules_python."""

py_binary = native.py_binary
py_library = native.py_library
py_test = native.py_test
