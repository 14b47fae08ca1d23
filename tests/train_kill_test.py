"""kill -9 during a run costs nothing; `make test-kills` does it twenty times."""

from tests import kill_training, small_run


def test_a_kill_leaves_no_trace(tmp_path):
    folder = small_run.write_data_set(tmp_path / "data", videos=4)
    # This seed kills in the middle of the run, so that one try is enough.
    kill_training.kill_and_compare(folder, tmp_path, kills=1, seed=9)
