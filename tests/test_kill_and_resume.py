from __future__ import annotations

import pytest
from kill_and_resume import kill_and_resume


@pytest.mark.slow
def test_a_run_that_was_killed_and_resumed_is_the_same_bit_for_bit(tmp_path):
    assert kill_and_resume(tmp_path, kills=3, epochs=2) == []
