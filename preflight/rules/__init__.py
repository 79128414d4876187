"""One module a topic; every rule has an id, a severity, a message and a fix."""
