"""A search whose trials keep their files in a store, on one machine; `test_hosts` has several."""

import pytest

from tests.support.arena import Arena, assert_nothing_lost, assert_orderly_end


class StoreArena(Arena):
    """Return an arena whose trials keep their files in a folder that stands for a store."""

    @property
    def store(self):
        return self.folder / "store"

    def has_weights(self, number):
        return any(self.store.glob(f"s-*/trials/{number:04d}/objects/*"))


@pytest.fixture
def arena(tmp_path, ray_cluster):
    arena = StoreArena(tmp_path, address=ray_cluster)
    arena.environment["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    yield arena
    arena.kill_everything()


def test_a_search_over_a_store_ends_as_one_without_and_leaves_its_files_where_they_belong(arena):
    code, output = arena.run(promote=True, more=["--artifacts", "store"])
    assert_orderly_end(code, output, 0)
    assert_nothing_lost(arena)
    (final,) = (arena.study_folder / "promoted").iterdir()
    assert (final / "weights" / "played.json").read_text() == "4"
    again, output = arena.run(promote=True)
    assert_orderly_end(again, output, 0)
    assert "files of runs are in" in output, "the study knows its store"


@pytest.mark.slow
def test_a_driver_that_is_killed_and_trainers_that_die_lose_no_epoch_of_the_store(arena):
    arena.fault("0-5-kill")
    arena.fault("any-2-kill")
    process = arena.start(epoch_seconds=0.3, more=["--artifacts", "store"])
    arena.wait_for(lambda: len(arena.events("epoch")) >= 6)
    process.kill()
    process.communicate()
    before = arena.status()
    code, output = arena.run(epoch_seconds=0.1, more=["--artifacts", "store"])
    assert_orderly_end(code, output, 0)
    assert_nothing_lost(arena, before=before, most_redone=4)


@pytest.mark.slow
def test_paused_trials_resume_from_the_store(arena):
    space = arena.folder / "space.yaml"
    space.write_text(space.read_text().replace("asha-stopping", "asha-promotion"))
    code, output = arena.run(epoch_seconds=0.1, more=["--artifacts", "store"])
    assert_orderly_end(code, output, 0)
    assert "pauses after epoch 3" in output
    assert max(arena.epochs_played().values()) == 1, "no epoch is trained twice"


def test_a_store_that_cannot_be_written_ends_the_run_before_it_begins(arena):
    code, output = arena.run(more=["--artifacts", "/proc/store"])
    assert_orderly_end(code, output, 5)
    assert "The artifact store must be readable and writable, but '/proc/store' is not" in output
    assert not arena.events("start")


def test_a_study_whose_trials_wait_in_its_folder_does_not_change_to_a_store(arena):
    process = arena.start(epoch_seconds=0.5)
    arena.wait_for(lambda: len(arena.events("epoch")) >= 2)
    process.terminate()
    process.communicate(timeout=60)
    code, output = arena.run(more=["--artifacts", "store"])
    assert_orderly_end(code, output, 2)
    assert "--artifacts must be given from the start of a study" in output
