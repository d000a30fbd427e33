"""What a slot takes besides its trainer."""

from collections import Counter
from pathlib import Path


def test_the_actor_of_a_slot_imports_no_library_of_tune_even_for_its_next_trials(arena):
    """Hundreds of slots start hundreds of actors, and the library of tables alone takes as much as all the rest."""
    search = arena.start(epoch_seconds=0.2)

    def reused() -> set[int]:
        trials = Counter(event.get("ppid", 0) for event in arena.events("start"))
        return {actor for actor, number in trials.items() if number > 1}

    (actor, *_) = arena.wait_for(reused)
    mapped = Path(f"/proc/{actor}/maps").read_text()
    assert "/ray/_raylet" in mapped
    assert "/pandas/" not in mapped
    output, _ = search.communicate()
    assert search.returncode == 0, output
