import pytest

from dlpipe.training.named_parts import in_part


@pytest.mark.parametrize(
    ("name", "part", "belongs"),
    [
        ("net.layer1.0.weight", "net.layer1", True),
        ("net.layer1", "net.layer1", True),
        ("net.layer10.weight", "net.layer1", False),
        ("net.layer1.0.weight", "net.layer*", True),
        ("head.bias", "*.bias", True),
        ("head.weight", "*.bias", False),
        ("net", "net.layer1", False),
    ],
)
def test_what_is_within_a_layer_belongs_to_it(name, part, belongs):
    assert in_part(name, part) == belongs
