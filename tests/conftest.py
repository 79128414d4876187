"""Settings of all tests."""

import hypothesis

# The same examples on every machine, and no verdict by the clock: a red test is red because the code is wrong.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")
