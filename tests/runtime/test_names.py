import pytest

from ltood.runtime.names import leads_out


@pytest.mark.parametrize("name", ["..", "../a", "a/../..", "/a", "C:a", "C:\\a", "..\\a", "\\a"])
def test_names_that_lead_out(name):
    assert leads_out(name)


@pytest.mark.parametrize("name", ["a", "a/b.json", "a..b/c", ".done/0", "a/b:c"])
def test_names_that_stay(name):
    assert not leads_out(name)
