from __future__ import annotations

from dlpipe.runs.provenance import package_digest


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
