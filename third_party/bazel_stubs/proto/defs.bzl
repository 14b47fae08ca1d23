"""The protocol buffer rules that Bazel 4 has built in, under the name @rules_proto."""

proto_library = native.proto_library
