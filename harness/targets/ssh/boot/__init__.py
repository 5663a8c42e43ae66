"""Ways to start a kernel once. A new one is a new module here, named like the method."""
