"""QEMU guests on this machine."""
