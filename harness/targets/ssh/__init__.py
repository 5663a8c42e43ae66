"""Lab hosts: real machines that are reached over ssh. See docs/howto/lab.md."""
