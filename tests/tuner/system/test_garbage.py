"""Pause Python's garbage collection in blocks that may overlap."""

import gc
import threading
from contextlib import ExitStack

from tuner.system.garbage import collection_paused


def test_collection_is_paused_until_the_last_of_several_blocks_ends():
    assert gc.isenabled()
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(collection_paused())
        second.enter_context(collection_paused())
        first.close()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_blocks_of_several_threads_restore_collection():
    def pause():
        for _ in range(200):
            with collection_paused():
                assert not gc.isenabled()

    threads = [threading.Thread(target=pause) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert gc.isenabled()


def test_collection_that_was_off_stays_off():
    gc.disable()
    try:
        with collection_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
