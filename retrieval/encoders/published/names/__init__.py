"""Everything that comes from outside, one file a system: names of tensors and files, sizes, figures."""
