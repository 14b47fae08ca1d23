"""The order of the tests."""


def pytest_collection_modifyitems(items):
    """Puts whole trainings first, which take longest, and modules of seconds last.

    With `--no-loadscope-reorder`, parallel workers then end at about the same time.
    """
    items.sort(key=lambda item: item.path, reverse=True)
