"""How all property tests run."""

from __future__ import annotations

import hypothesis

# No time limit, for an example or for drawing it: a busy machine is no bug. The blob repeats a failure elsewhere.
hypothesis.settings.register_profile(
    "allocation", deadline=None, print_blob=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("allocation")
