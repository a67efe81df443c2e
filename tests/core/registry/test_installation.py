"""The command that installs an extra names the source from which its distribution was installed."""

import json
from importlib import metadata

import pytest

from dlpipe.registry.installation import install_command


@pytest.fixture
def installed(monkeypatch):
    """Pretend that the distribution `dlpipe` was installed with this record of its source."""

    def installed(record):
        class Installed(metadata.Distribution):
            def read_text(self, filename):
                return record if filename == "direct_url.json" else None

            def locate_file(self, path):
                raise NotImplementedError

        def distribution(name):
            if name != "dlpipe":
                raise metadata.PackageNotFoundError(name)
            return Installed()

        monkeypatch.setattr(metadata, "distribution", distribution)

    return installed


@pytest.mark.parametrize(
    ("record", "command"),
    [
        (
            {"url": "file:///home/me/dlpipe", "dir_info": {"editable": True}},
            "pip install -e '/home/me/dlpipe[vision]'",
        ),
        ({"url": "file:///home/me/dlpipe", "dir_info": {}}, "pip install '/home/me/dlpipe[vision]'"),
        ({"url": "file:///my%20code/dlpipe", "dir_info": {}}, "pip install '/my code/dlpipe[vision]'"),
        (
            {
                "url": "https://example.org/dlpipe.git",
                "vcs_info": {"vcs": "git", "requested_revision": "main", "commit_id": "4c32a4d"},
            },
            'pip install "dlpipe[vision] @ git+https://example.org/dlpipe.git@4c32a4d"',
        ),
        (
            {
                "url": "https://example.org/mono.git",
                "vcs_info": {"vcs": "git", "commit_id": "4c32a4d"},
                "subdirectory": "python/dlpipe",
            },
            'pip install "dlpipe[vision] @ git+https://example.org/mono.git@4c32a4d#subdirectory=python/dlpipe"',
        ),
        (
            {"url": "file:///tmp/dlpipe-0.1.0-py3-none-any.whl", "archive_info": {}},
            'pip install "dlpipe[vision] @ file:///tmp/dlpipe-0.1.0-py3-none-any.whl"',
        ),
    ],
)
def test_the_command_names_the_source_of_the_distribution(installed, record, command):
    installed(json.dumps(record))

    assert install_command("dlpipe[vision]") == command


@pytest.mark.parametrize("record", [None, "", "not JSON", "[]", "{}"])
def test_without_a_record_the_source_is_the_index(installed, record):
    installed(record)

    assert install_command("dlpipe[vision]") == 'pip install "dlpipe[vision]"'


def test_another_distribution_has_its_own_source(installed):
    installed(json.dumps({"url": "file:///home/me/dlpipe", "dir_info": {"editable": True}}))

    assert install_command("dlpipe-speech[voices]") == 'pip install "dlpipe-speech[voices]"'


def test_a_whole_distribution_can_be_an_extra(installed):
    installed(None)

    assert install_command("ale-py") == 'pip install "ale-py"'
