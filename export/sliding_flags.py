"""The flags that say how the observed clip slides over a video."""

import dataclasses

from absl import flags

from export import command
from export.anticipation import MOST_FRAMES
from export.student_file import ExportSpec
from kd_keras.data.video.flow import FRAME_RATE

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
            ValueError: If nothing says how many seconds the student is to see, or it
                cannot see others.
        """
        if trained.every_frame:
            trained = self._of_computed_flow(trained)
        times = {"observed_s": self.observed_s, "lead_time_s": self.lead_time_s}
        given = {name: value for name, value in times.items() if value is not None}
        spec = dataclasses.replace(trained, **given)
        if spec.observed_s is None:
            raise ValueError(
                "The student was trained with observed clips of no fixed length: give "
                "--observed_s, the seconds of video it is to see."
            )
        return spec

    def _of_computed_flow(self, trained):
        """The graph takes frames to be spread over the seconds of training."""
        if self.observed_s is None or self.observed_s == trained.observed_s:
            return trained
        if trained.observed_s is not None:
            raise ValueError(
                f"--observed_s={self.observed_s:g}: two students that are exported "
                "together compute the flow of the "
                f"{trained.observed_s:g} s that they were trained with. Leave it out."
            )
        # It takes frames that are of no fixed time to come so often.
        count = min(max(round(self.observed_s * FRAME_RATE), 2), MOST_FRAMES)
        # Other policies would show frames twice, as motion that is none.
        clip_format = dataclasses.replace(
            trained.clip_format, num_frames=count, short_clip="resample"
        )
        return dataclasses.replace(trained, clip_format=clip_format, every_frame=False)


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
    command.check_finite(("every_s", "observed_s", "lead_time_s"))
