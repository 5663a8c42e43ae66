import pytest

from tests.flow.workplace import Workplace


@pytest.fixture
def workplace(tmp_path, module_bytes):
    return Workplace(tmp_path, module_bytes)
