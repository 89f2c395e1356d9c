"""The library's verbs, one module a command: each reads files, calls the model, and writes files."""
