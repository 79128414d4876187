"""What makes a program's preview untrue or a later update fail: default providers, stringified outputs, names."""
