"""How all property tests run."""

from __future__ import annotations

import hypothesis

# No time limit for an example: a busy machine is no bug. The blob repeats a failure elsewhere.
hypothesis.settings.register_profile("allocation", deadline=None, print_blob=True)
hypothesis.settings.load_profile("allocation")
