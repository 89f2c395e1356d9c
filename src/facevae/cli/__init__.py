"""The command line: each command parses, calls one function of the library, and reports what was made."""
