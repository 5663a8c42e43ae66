import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.targets.guestclock import GuestClock, share_got

S = 1e9
NS = st.floats(0, 1e12)


@pytest.mark.parametrize(
    ("ran_s", "waited_s", "most_s", "share"),
    [
        (0, 0, 2, 1.0),  # a guest that sleeps
        (2, 0, 2, 1.0),  # two vCPUs, each on its core
        (1, 0, 2, 1.0),  # one of two busy
        (1, 1, 2, 0.5),  # others took half
        (2, 62, 2, 1.0),  # 64 vCPUs on two cores wait for each other only
        (1, 63, 2, 0.5),
        (0.5, 3, 1, 0.5),  # a long wait that ended in this window
        (0, 1, 1, 0.0),
    ],
)
def test_a_guest_gets_its_due_unless_others_take_it(ran_s, waited_s, most_s, share):
    assert share_got(ran_s * S, waited_s * S, most_s * S) == share


@given(NS, NS, NS)
def test_a_share_is_a_share(ran_ns, waited_ns, most_ns):
    assert 0 <= share_got(ran_ns, waited_ns, most_ns) <= 1


def test_threads_that_cannot_be_read_leave_the_host_s_clock():
    moments = iter([0.0, 5.0])
    assert GuestClock(1, [0], 1, lambda: next(moments)).elapsed_s() == 5.0
