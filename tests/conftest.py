"""Settings of the whole suite."""

import os

from hypothesis import HealthCheck, settings

# No test may depend on how fast the machine is: an example has no deadline, and slow
# generation is no fault. In CI the same examples are tried each time, so that a change
# is judged by itself; elsewhere each run tries others.
settings.register_profile(
    "gandalf",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("gandalf")
