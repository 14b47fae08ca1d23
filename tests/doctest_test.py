"""Every public name of the library has an example that gives what it says."""

import doctest
import importlib
import importlib.util
import inspect

import keras
import pytest

import kd_keras

_HAS_TENSORFLOW = keras.config.backend() == "tensorflow"
_HAS_MATPLOTLIB = importlib.util.find_spec("matplotlib") is not None

# The public modules, and whether each can be imported here.
_MODULES = {
    "kd_keras.distill": True,
    "kd_keras.losses": True,
    "kd_keras.metrics": True,
    "kd_keras.models": True,
    "kd_keras.statistics": True,
    "kd_keras.visualise": _HAS_MATPLOTLIB,
}


def _public(module):
    """The functions and classes of ours that a module offers, by name."""
    names = getattr(module, "__all__", dir(module))
    values = {name: getattr(module, name) for name in names if name[0] != "_"}
    return {
        f"{module.__name__}.{name}": value
        for name, value in values.items()
        if (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__.startswith("kd_keras.")
    }


_PUBLIC = {
    name: value
    for module, can_be_imported in _MODULES.items()
    if can_be_imported
    for name, value in _public(importlib.import_module(module)).items()
}

# What other code takes from the package of the data, which has no list of its own.
_DATA = {
    "kd_keras.data.readers.csv_videos": ("read_csv",),
    "kd_keras.data.readers.epic_kitchens": ("read_epic_kitchens",),
    "kd_keras.data.readers.jhmdb": ("read_jhmdb",),
    "kd_keras.data.readers.thumos14": ("read_thumos14",),
    "kd_keras.data.records.media_sequence": (
        "encode_clip",
        "encode_features",
        "parse_features",
        "parse_images",
    ),
}
if _HAS_TENSORFLOW:
    _PUBLIC |= {
        f"{module}.{name}": getattr(importlib.import_module(module), name)
        for module, names in _DATA.items()
        for name in names
    }


@pytest.mark.parametrize("name", _PUBLIC)
def test_the_example_of_a_public_name_runs(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    docstring = inspect.getdoc(_PUBLIC[name])
    assert "\nExamples:\n" in docstring, f"{name} has no section Examples."
    test = doctest.DocTestParser().get_doctest(docstring, {}, name, None, None)
    assert any(example.want for example in test.examples), f"{name} shows no result."
    report = []
    doctest.DocTestRunner(verbose=False).run(test, out=report.append)
    assert report == [], "".join(report)


def test_the_public_modules_hold_every_name_of_the_package():
    names = _public(kd_keras)
    assert len(names) >= 13
    assert [n for n, value in names.items() if value not in _PUBLIC.values()] == []
