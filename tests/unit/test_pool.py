"""sqb_tflite.runtime.pool: who gets what, who waits, and what closing does."""

import threading

import pytest

from sqb_tf.errors import InputError
from sqb_tflite.runtime.pool import Pool


def pool_of(size: int) -> Pool[int]:
    """Numbers in the order in which they are opened."""
    numbers = iter(range(100))
    return Pool(lambda: next(numbers), size, "the pool")


def in_thread(run) -> threading.Thread:
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def test_the_last_one_used_is_lent_again():
    pool = pool_of(2)
    with pool.lent() as first:
        assert first == 0
        with pool.lent() as second:
            assert second == 1
    with pool.lent() as again:
        assert again == 0


def test_a_thread_waits_for_what_is_lent():
    pool, lent = pool_of(1), []

    def borrow() -> None:
        with pool.lent() as item:
            lent.append(item)

    with pool.lent():
        waiting = in_thread(borrow)
        waiting.join(0.2)
        assert waiting.is_alive() and not lent
    waiting.join(10)
    assert lent == [0]


def test_a_detached_one_leaves_room_for_another():
    pool = pool_of(1)
    assert pool.detach() == 0
    with pool.lent() as item:
        assert item == 1


def test_what_cannot_be_opened_leaves_room():
    attempts = iter([RuntimeError("no memory"), 5])

    def open_one() -> int:
        attempt = next(attempts)
        if isinstance(attempt, RuntimeError):
            raise attempt
        return attempt

    pool = Pool(open_one, 1, "the pool")
    with pytest.raises(RuntimeError, match="no memory"), pool.lent():
        pass
    with pool.lent() as item:
        assert item == 5


def test_a_closed_pool_says_so_to_those_who_wait_too():
    pool, errors = pool_of(1), []

    def borrow() -> None:
        try:
            with pool.lent():
                pass
        except InputError as error:
            errors.append(str(error))

    with pool.lent() as item:
        waiting = in_thread(borrow)
        waiting.join(0.2)
        pool.close()
        waiting.join(10)
        assert item == 0
    assert errors == ["the pool was closed: open it again"]
    with pytest.raises(InputError, match="closed"), pool.lent():
        pass
