"""The flags that say how the observed clip slides over a video."""

import dataclasses

from absl import flags

from export.student_file import ExportSpec

NAMES = ("top_k", "every_s", "observed_s", "lead_time_s")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sliding:
    """What the flags ask for; the fields have their names and meanings."""

    top_k: int = 3
    every_s: float = 0.5
    observed_s: float | None = None
    lead_time_s: float | None = None

    def spec(self, trained: ExportSpec) -> ExportSpec:
        """What the student was trained with, or the times that the flags give.

        Raises:
            ValueError: If nothing says how many seconds the student is to see.
        """
        times = {"observed_s": self.observed_s, "lead_time_s": self.lead_time_s}
        given = {name: value for name, value in times.items() if value is not None}
        spec = dataclasses.replace(trained, **given)
        if spec.observed_s is None:
            raise ValueError(
                "The student was trained with observed clips of no fixed length: give "
                "--observed_s, the seconds of video it is to see."
            )
        return spec


def define_flags() -> None:
    """Defines the flags, one for every field of `Sliding`."""
    flags.DEFINE_integer("top_k", 3, "Classes shown at each time.", lower_bound=1)
    flags.DEFINE_float(
        "every_s", 0.5, "Seconds from one anticipation to the next.", lower_bound=0.01
    )
    flags.DEFINE_float(
        "observed_s",
        None,
        "Seconds of video that the student sees; by default what it was trained with.",
        lower_bound=0.01,
    )
    flags.DEFINE_float(
        "lead_time_s",
        None,
        "Seconds from what is seen to the action; by default what it was trained with.",
        lower_bound=0.0,
    )
