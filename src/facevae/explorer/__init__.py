"""The explorer: a server on the user's own machine, and what it does for its page."""
