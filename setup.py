"""Where an installation keeps the packages of the command lines.

`train` and `export` are too common as names to lie in a user's site-packages. They are
installed inside of kd_keras, and `kd_keras.commands` finds them there.
"""

from setuptools import find_packages, setup

_COMMANDS = "kd_keras._commands"

setup(
    packages=[
        *find_packages(include=["kd_keras*"]),
        *(
            f"{_COMMANDS}.{package}"
            for package in find_packages(include=["train*", "export*"])
        ),
    ],
    package_dir={
        f"{_COMMANDS}.train": "train",
        f"{_COMMANDS}.export": "export",
    },
)
