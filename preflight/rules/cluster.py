"""How hard the cluster is to misuse: metadata service, endpoint, node role, encryption, support window."""
