"""vmapbench: measures what a change to the kernel's vmalloc does on many-core machines."""

__version__ = "0.1.0"
