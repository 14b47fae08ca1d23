"""kill -9 during a preparation costs nothing; `make test-kills` does it more often."""

from tests import kill_preparation, small_run


def test_kills_leave_no_trace(tmp_path):
    folder = small_run.write_data_set(tmp_path / "data", videos=4)
    kill_preparation.kill_and_compare(folder, tmp_path, "clips", kills=1)
