"""Boot methods, which start a kernel once. Each is a module here, with the method's name."""
