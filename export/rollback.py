"""Takes the newest version of a served model back, so that the one before answers.

python -m export.rollback --output=MODELS/name

The version is renamed to rolled_back.<version>, which no server reads, and its number
is not given again. The labels of models.config move to versions that are left.
"""

import dataclasses

from absl import flags

from export import command

FLAGS = flags.FLAGS

# The flags of paths.
_PATHS = ("output",)


@dataclasses.dataclass(frozen=True)
class Request:
    """What the flags ask for; the fields have their names and meanings."""

    output: str
    version: int | None = None


def define_flags() -> None:
    """Defines the flags, one for every field of `Request`."""
    flags.DEFINE_string("output", None, "Folder of the served model.")
    flags.DEFINE_integer(
        "version",
        None,
        "Number of the version that is taken back; by default the newest.",
        lower_bound=0,
    )
    command.check_paths(_PATHS)


def run(request: Request) -> str:
    """Takes a version back; returns the path that it has now.

    Raises:
        ValueError: If there is no such version, or none would be left.
        OSError: If it cannot be renamed.
    """
    # TensorFlow takes seconds to import, so flags are read first.
    from export import server_files, versions
    from kd_keras.data import remote

    output = request.output.rstrip("/")
    remote.require_file_system(output)
    there = versions.versions(output)
    if not there:
        raise ValueError(
            f"--output={output} has no versions, which are folders of a number. Give "
            "the folder that export.main wrote them to."
        )
    version = there[-1] if request.version is None else request.version
    if version not in there:
        raise ValueError(
            f"--output={output} has no version {version}: there are {there}."
        )
    left = [other for other in there if other != version]
    if not left:
        raise ValueError(
            f"{output}/{version} is the only version; without it the model would not "
            "be served. Export another one first."
        )
    if versions.was_taken_back(output, version):
        raise ValueError(
            f"{output} has a version {version} that was taken back before. Move "
            f"rolled_back.{version} to another folder first."
        )
    if versions.format_of(f"{output}/{version}") == "savedmodel":
        # First, so that the server is not told of a version that is gone.
        server_files.write(output, left)
    kept = versions.take_back(output, version)
    print(f"{output}/{left[-1]} is the newest now; what was taken back is {kept}.")
    return kept


def main(_) -> int:
    request = command.request(Request, FLAGS, _PATHS)
    return command.status_of("rollback", lambda: run(request))


if __name__ == "__main__":
    define_flags()
    command.start(
        main,
        "python -m export.rollback",
        required={"output": "the folder of the served model, such as MODELS/name"},
        groups={"Rollback": ("output", "version")},
    )
