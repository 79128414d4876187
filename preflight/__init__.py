"""Static proof of an EKS program's wiring: runs it in a child process, without cloud or login."""
