"""The valid files that mutants are made of."""

import pytest


@pytest.fixture(scope="session")
def fuzz_packages(converted) -> list[bytes]:
    """A package of any length, and one of two."""
    return [converted("int8"), converted("int8", 16, 32)]


@pytest.fixture(scope="session")
def fuzz_metadata(fuzz_packages) -> list[bytes]:
    """The metadata of packages."""
    from sqb_tflite.package import container, metadata

    return [metadata.build(container.unpack(content).metadata) for content in fuzz_packages]
