"""What is said of settings that change."""

from __future__ import annotations

from dlpipe.config.changeable import Change, later_ends


def test_a_path_is_written_as_set_takes_it(fakes):
    tables = {"stages": {"v1.0": {"trainer": {"use": "fake.fit", "epochs": 2, "minutes": 3.0}}}}

    assert later_ends(tables, fakes) == ['stages."v1.0".trainer.epochs=N', 'stages."v1.0".trainer.minutes=N']
    assert str(Change(("stages", "v1.0", "trainer", "epochs"), 2, 3)) == ('stages."v1.0".trainer.epochs = 3 (it was 2)')
