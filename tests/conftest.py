"""Settings of the whole suite."""

from hypothesis import HealthCheck, settings

# No test may depend on how fast the machine is: an example has no deadline, and slow
# generation is no fault.
settings.register_profile(
    "gandalf", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("gandalf")
