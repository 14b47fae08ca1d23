"""Two workers that read from a tf.data service of two workers train as one process.

`make test-cluster` runs it.
"""

from tests import long_tests, loopback_data_service, small_run
from tests import train_loop_distribution_test as runs
from train import prepare

pytestmark = long_tests.run_by("test-cluster")


def test_two_workers_of_a_service_give_what_one_process_gives(tmp_path):
    folder = small_run.write_data_set(tmp_path / "data")
    records = tmp_path / "records"
    prepare.prepare(
        small_run.config(folder, tmp_path / "none", *small_run.SMALLEST_NETWORK),
        small_run.preparation(records, "--shard_records=5"),
    )
    found = {}
    for count in (1, 2):
        run_dir = found[count] = tmp_path / f"run{count}"
        with loopback_data_service.service(count, apart=True) as address:
            flags = (f"--records={records}", f"--data_service={address}")
            if count == 1:
                started = [runs._start(folder, run_dir, *flags)]
            else:
                started = runs._start_workers(folder, run_dir, *flags)
            for process in started:
                runs._finish(process)
    runs._assert_same_run(found[2], found[1])
