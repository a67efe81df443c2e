"""The commands of the program, one a file; each is imported only when it runs."""
