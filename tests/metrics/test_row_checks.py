"""How many checked rows tell two classifiers apart: by simulation, and where none can."""

from __future__ import annotations

import numpy as np
import pytest

from noisylab.metrics.row_checks import rows_to_check


@pytest.mark.parametrize("lead", [0.15, 0.3, 0.5])
def test_so_many_rows_show_the_lead_with_the_power_asked_for(lead: float) -> None:
    count = rows_to_check(lead)
    assert count is not None
    draw = np.random.default_rng(0)
    ahead = 2 * draw.binomial(count, (1 + lead) / 2, size=20_000) - count  # every row right for one of the two
    shown = ahead / np.sqrt(count - ahead**2 / count).clip(1e-9) > 1.959964
    assert shown.mean() == pytest.approx(0.8, abs=0.05)


def test_no_number_of_rows_shows_what_is_not_there() -> None:
    assert rows_to_check(0.0) is None
    assert rows_to_check(1.0) == 6 == rows_to_check(-1.0), "6 of 6 is 2 / 2^6 = 0.03; 5 of 5 is 0.06"
    assert rows_to_check(0.2) == rows_to_check(-0.2)
    with pytest.raises(ValueError, match=r"in \[-1, 1\], got 1\.5"):
        rows_to_check(1.5)
