"""Providers that the real engine talks to, with an AWS account and its clusters in memory behind them.

`provider.py` speaks the protocol; `aws.py`, `kubernetes.py`, `tls.py` and `eks.py` are the packages; `world.py` is what
is really there. Each module says in its docstring who judges what, and what it does not play.
"""
