"""What code decides a result: packages, local plugins, and what they import."""

from __future__ import annotations

from dlpipe.runs.code_digests import code_identity, package_digest


def test_the_code_of_a_package_has_a_digest_that_changes_with_it(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    digests = []
    for name, text in (("one_code", "a = 1"), ("two_code", "a = 1"), ("three_code", "a = 2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
        (tmp_path / name / "model.py").write_text(text)
        digests.append(package_digest(name))

    assert digests[0] == digests[1]
    assert digests[1] != digests[2]


def test_what_the_site_packages_of_another_environment_hold_is_not_read(tmp_path, monkeypatch):
    """As on clusters, where PYTHONPATH names it: torch alone would take minutes."""
    other = tmp_path / "lib" / "site-packages"
    for folder, package, text in (
        (tmp_path, "own_code", "import their_library"),
        (other, "their_library", "import their_dependency"),
        (other, "their_dependency", ""),
    ):
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text(text)
        monkeypatch.syspath_prepend(folder)

    found = code_identity([("own", "own_code")], [])

    assert "the code of plugin own" in found
    assert "the code of their_library" in found
    assert "the code of their_dependency" not in found
