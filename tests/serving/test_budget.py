import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ltood.serving.budget import Budget


@settings(max_examples=40)
@given(
    st.integers(1, 20),
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 3), st.booleans()), max_size=30),
)
def test_never_more_than_there_is_and_nothing_is_lost(total, wishes):
    """Each wish: an amount, steps to hold it, and whether it is given up while it waits."""
    budget, held, order = Budget(total), [], []

    async def client(number, amount, steps):
        await budget.take(amount)
        order.append(number)
        held.append(amount)
        assert sum(held) <= total
        for _ in range(steps):
            await asyncio.sleep(0)
        held.remove(amount)
        budget.give(amount)

    async def all_of_them():
        tasks = []
        for number, (amount, steps, gives_up) in enumerate(wishes):
            tasks.append(asyncio.create_task(client(number, min(amount, total), steps)))
            await asyncio.sleep(0)
            if gives_up and number not in order:
                tasks[-1].cancel()
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
        return [task for task in tasks if not task.cancelled()]

    finished = asyncio.run(all_of_them()) if wishes else []
    assert all(task.exception() is None for task in finished)
    assert len(order) == len(finished)
    assert budget.left == total


def test_what_is_there_is_held_for_a_block_only():
    budget = Budget(3)
    with budget.holding(2) as first, budget.holding(2) as second:
        assert (first, second, budget.left) == (True, False, 1)
    assert budget.left == 3


def test_more_than_there_ever_is_is_refused_at_once():
    with pytest.raises(ValueError, match="3"):
        asyncio.run(Budget(3).take(4))


def test_who_waits_is_not_overtaken():
    async def run():
        budget = Budget(4)
        await budget.take(3)
        large = asyncio.create_task(budget.take(4))
        await asyncio.sleep(0)
        assert not budget.try_take(1)
        budget.give(3)
        await large
        return budget.left

    assert asyncio.run(run()) == 0
