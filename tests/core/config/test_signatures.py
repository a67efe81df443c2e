"""Signatures read from source files are those that Python sees, and reading them does not import torch."""

import inspect
import re
import subprocess
import sys
from typing import Annotated, Any, Literal, get_args

import pytest

from dlpipe import fields
from dlpipe.config.defaults import Computed
from dlpipe.config.signatures import REQUIRED, Parameter, read_signature
from dlpipe.config.tables import OPTIONS, PROVIDED, SETTINGS
from dlpipe.config.torch_names import OPTIMIZERS, SCHEDULES
from dlpipe.errors import PluginError
from dlpipe.registry.loading import load_plugins
from dlpipe.registry.specs import SELECTABLE
from dlpipe.registry.targets import load_target

SPECS = [
    component.spec
    for kind, components in load_plugins({}).components.items()
    if kind in SELECTABLE
    for component in components.values()
]
COMPONENTS = list(
    dict.fromkeys(target for spec in SPECS for target in (spec.target, getattr(spec, "application", "")) if target)
)
TARGETS = [*COMPONENTS, *OPTIMIZERS.values(), *SCHEDULES.values(), SETTINGS, *OPTIONS.values()]


@pytest.fixture
def read(tmp_path, monkeypatch, request):
    """Write a module and read the signature of its `X`; nothing is imported."""
    monkeypatch.syspath_prepend(tmp_path)
    count = iter(range(100))

    def read(code, **others):
        module = f"sample_{abs(hash(request.node.nodeid))}_{next(count)}"
        for name, text in {**others, module: code}.items():
            (tmp_path / f"{name}.py").write_text(text)
        signature = read_signature(f"{module}:X")
        if signature.file:
            assert module not in sys.modules
        return signature

    return read


def kinds(signature):
    return {name: parameter.kind for name, parameter in signature.parameters.items()}


def defaults(signature):
    return {name: parameter.default for name, parameter in signature.parameters.items()}


def test_a_package_without_an_init_file_is_read_too(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "namespace_sample" / "inner").mkdir(parents=True)
    (tmp_path / "namespace_sample" / "inner" / "nets.py").write_text("def X(a: int = 3): ...")

    signature = read_signature("namespace_sample.inner.nets:X")

    assert signature.file.endswith("nets.py")
    assert signature.parameters["a"].kind == fields.STRICT[int]


# Relations


RELATED = """
from typing import Annotated
from dlpipe import fields
from dlpipe.fields import OnlyWith, Positive

def X(kind: "str", *, a: Annotated[Positive | None, OnlyWith("b", kind=("x", "y"))] = None,
      b: Annotated[int, fields.NotWith(kind="z")] = 0, c: Annotated[float, fields.OnlyWith("a")] = 0.0):
    '''X.

    Args:
        a: first.
    '''
"""


def test_relations_are_read_from_the_annotation_and_are_no_part_of_the_type(read):
    a, b, c = (read(RELATED).parameters[name] for name in "abc")

    assert (a.kind, b.kind, c.kind) == (fields.Positive | None, fields.STRICT[int], fields.STRICT[float])
    assert a.help == 'first. (only with b and kind = "x" or "y")'
    assert b.help == '(not with kind = "z")'
    assert c.relations[0].parameters() == ("a",)


@pytest.mark.parametrize("name", ["other", "a"])
def test_a_relation_to_what_is_not_another_parameter_is_a_mistake_of_the_plugin(read, name):
    expected = f"a is marked OnlyWith('{name}'), but {name} is not another parameter of X"
    with pytest.raises(PluginError, match=re.escape(expected)):
        read(
            "from typing import Annotated\nfrom dlpipe.fields import OnlyWith\n"
            f"def X(a: Annotated[int, OnlyWith('{name}')] = 0, b: int = 0): ..."
        )


# Real components


@pytest.mark.parametrize("target", TARGETS)
def test_a_signature_read_from_its_source_is_the_one_that_python_sees_defaults_included(target):
    try:
        found = load_target(target)
    except PluginError as error:
        pytest.skip(f"not installed: {error}")
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    real = [part for part in inspect.signature(found).parameters.values() if part.kind not in variadic]

    signature = read_signature(target)

    assert signature.file
    assert list(signature.parameters) == [part.name for part in real]
    for part in real:
        default = signature.parameters[part.name].default
        if part.name not in PROVIDED["trainer"]:  # dlpipe passes these
            assert default is REQUIRED if part.default is part.empty else default == part.default


@pytest.mark.parametrize("target", [*COMPONENTS, SETTINGS, *OPTIONS.values()])
def test_every_key_of_our_components_has_a_type_and_a_description(target):
    for parameter in read_signature(target).parameters.values():
        if not parameter.required and parameter.name not in PROVIDED["trainer"]:
            assert parameter.kind is not Any, parameter
            # A trainer that reads options of the loop does not describe them again.
            assert parameter.text or parameter.name in ("epochs", "steps"), parameter


def test_reading_every_signature_imports_no_torch():
    code = f"""
import sys
from dlpipe.config.signatures import read_signature
for target in {TARGETS}:
    assert read_signature(target).file, target
print(sorted({{"torch", "numpy"}} & set(sys.modules)))
"""

    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert answer.stdout == "[]\n", answer.stderr


# Forms of code


def test_a_function_is_read(read):
    signature = read('''
def X(first, /, second: int, *rest: int, third: str = "a", **others):
    """Make it.

    Longer.

    Args:
        second: of two
            lines.
        third: of one.
    """
''')

    assert signature.summary == "Make it."
    assert defaults(signature) == {"first": REQUIRED, "second": REQUIRED, "third": "a"}
    assert signature.parameters["second"].text == "of two lines."
    assert signature.parameters["first"] == Parameter(
        "first", Any, REQUIRED, "", unchecked="does not say the type of first"
    )


def test_an_init_is_inherited_with_its_texts(read):
    base = '''
class Base:
    """Base.

    Args:
        size: of it.
    """

    def __init__(self, size: int = 3, *args, **kwargs): ...
'''
    heir = '''
import base_of_sample as b
class Between(b.Base[int]): pass
class X(Between):
    """Heir."""
'''

    signature = read(heir, base_of_sample=base)

    assert signature.summary == "Heir."
    assert defaults(signature) == {"size": 3}
    assert signature.parameters["size"].text == "of it."


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("class X(Left, Right): pass", ["right"]),  # Root comes after Right
        ("class X(Right):\n def __init__(self, own: int = 1, **more): super().__init__(**more)", ["own", "right"]),
        ("class X(Pair):\n def __init__(self, *args, **more): super().__init__(*args, **more)", ["a", "b", "c"]),
        ("class X(Pair):\n def __init__(self, a, **more): super(X, self).__init__(a, c=2, **more)", ["a", "b"]),
        ("class Y(Pair):\n def __init__(self, **m): super().__init__(1, **m)\nclass X(Y): pass", ["b", "c"]),
        ("class X(Pair):\n def __init__(self, own, **more): super().__init__(own, 2)", ["own"]),
        ("class X(Pair):\n def __init__(self, own, **more): Pair(own, **more)", ["own"]),
        ("class X(nn.Module):\n def __init__(self, own, **more): super().__init__(**more)", ["own"]),
        # Bases that cannot be read, after a class that has the keys
        ("class X(nn.Linear):\n def __init__(self, own, **more): super().__init__(1, own, **more)", ["own"]),
        ("class X(nn.LSTM):\n def __init__(self, own, **more): super().__init__(1, own, **more)", ["own"]),
        ("class X(Layer): pass", ["layer"]),
        ("class X(Layer):\n def __init__(self, own, **more): super().__init__(**more)", ["own", "layer"]),
        ("class X(Root, Sized): pass", ["root"]),
        ("class X(Left, Sized): pass", ["root"]),
        ("class X(Root, IterableDataset): pass", ["root"]),
        ("class Y(nn.Sequential): ...\nclass X(Y, Layer): pass", ["layer"]),  # Sequential comes after Layer
    ],
)
def test_what_a_class_inherits_is_what_python_passes_on(read, code, expected):
    bases = """
from collections.abc import Sized
from torch import nn
from torch.utils.data import IterableDataset
class Root:
    def __init__(self, root: int = 0): ...
class Left(Root): ...
class Right(Root):
    def __init__(self, right: int = 0): ...
class Pair:
    def __init__(self, a: int, b: int = 0, *, c: int = 0): ...
class Layer(nn.Sequential):
    def __init__(self, layer: int = 0): ...
"""
    signature = read(f"{bases}\n{code}")

    assert list(signature.parameters) == expected
    assert signature.file


def test_a_class_without_init_has_no_parameters(read):
    assert read("from typing import Generic\nclass X(Generic[int], object): pass").parameters == {}


def test_texts_of_the_init_itself_count(read):
    signature = read(
        'class X:\n    def __init__(self, a=1):\n        """Do.\n\n        Args:\n            a: text.\n        """'
    )

    assert signature.parameters["a"].text == "text."


def test_the_marks_of_code_in_texts_are_single(read):
    found = read('''
class X:
    """A line.

    Args:
        table: such as ``{ a = 1 }``,
            or ``{ b = 2 }``.
    """

    def __init__(self, table: int) -> None: ...
''')

    assert found.parameters["table"].text == "such as `{ a = 1 }`, or `{ b = 2 }`."


def test_a_dataclass_has_its_fields_and_those_of_its_bases(read):
    signature = read('''
from dataclasses import dataclass
from typing import ClassVar
@dataclass(frozen=True)
class Base:
    """Base.

    Args:
        a: first.
    """
    a: int
    b: str = "b"
    shared: ClassVar[int] = 3
    plain = 4
@dataclass
class Heir(Base):
    """Heir."""
    c: float = 0.5
    b: str = "c"
class X(Heir): pass
''')

    assert defaults(signature) == {"a": REQUIRED, "b": "c", "c": 0.5}
    assert signature.parameters["a"].text == "first."


def test_fields_of_a_dataclass_are_read_from_their_options(read):
    signature = read("""
import dataclasses
from dataclasses import dataclass, field
@dataclass
class X:
    a: list[int] = field(default_factory=list)
    b: int = field(init=False, default=3)
    c: int = dataclasses.field(default=4, repr=False)
    d: str = field(kw_only=True)
    e: list[int] = field(default_factory=lambda: [1, 2])
""")

    assert kinds(signature) == {"a": list[STRICT_INT], "c": STRICT_INT, "d": STRICT_STR, "e": list[STRICT_INT]}
    assert defaults(signature) == {
        "a": Computed("list()"),
        "c": 4,
        "d": REQUIRED,
        "e": Computed("(lambda: [1, 2])()"),
    }


def test_names_are_followed_through_imports_and_aliases(read):
    origin = "def original(a: int = 1): ..."
    between = "from sample_origin import original as renamed"

    signature = read("from sample_between import renamed as X", sample_origin=origin, sample_between=between)

    assert defaults(signature) == {"a": 1}


def test_a_name_imported_from_itself_does_not_hang(read):
    with pytest.raises(PluginError, match="cannot be imported: ImportError"):
        read("from sample_itself import X", sample_itself="from sample_itself import X")


def test_a_class_with_the_name_of_its_base_does_not_hang(read):
    signature = read(
        "from sample_parent import X\nclass X(X): pass", sample_parent="class X:\n def __init__(s, a): ..."
    )

    assert defaults(signature) == {"a": REQUIRED}
    assert signature.file == ""


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import functools\ndef f(a, b): ...\nX = functools.partial(f, 1)", ["b"]),
        ("exec('def X(a, b=2): ...')", ["a", "b"]),
        ("import collections\nclass X(collections.namedtuple('P', 'u v')): pass", ["u", "v"]),
        ("from torch import nn\nclass X(nn.Flatten): pass", ["start_dim", "end_dim"]),
    ],
)
def test_a_target_without_a_readable_definition_is_imported(read, code, expected):
    signature = read(code)

    assert list(signature.parameters) == expected
    assert signature.file == ""


def test_a_compiled_target_is_imported():
    signature = read_signature("math:isclose")

    assert defaults(signature) == {"a": REQUIRED, "b": REQUIRED, "rel_tol": 1e-09, "abs_tol": 0.0}
    assert kinds(signature)["rel_tol"] is Any
    assert signature.summary.startswith("Determine whether two floating")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no_such_module:X", "no_such_module:X cannot be imported: ModuleNotFoundError: No module named 'no_such"),
        ("dlpipe.no_such:X", "dlpipe.no_such:X cannot be imported: ModuleNotFoundError: No module named 'dlpipe.no"),
        ("dlpipe.errors:Nothing", "dlpipe.errors:Nothing cannot be used: module dlpipe.errors has no Nothing"),
        ("dlpipe.errors:Sequence.x", "module dlpipe.errors has no Sequence.x"),
        ("math:pi", "math:pi cannot be used: it has no signature"),
    ],
)
def test_a_missing_target_is_a_plugin_error(target, message):
    with pytest.raises(PluginError, match=message):
        read_signature(target)


def test_a_source_that_is_not_python_is_a_plugin_error(read):
    with pytest.raises(PluginError, match="cannot be imported: SyntaxError"):
        read("def X(:")


# Annotations

STRICT_INT, STRICT_STR = fields.STRICT[int], fields.STRICT[str]


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        ("int", STRICT_INT),
        ("'int'", STRICT_INT),
        ("Optional[int]", STRICT_INT),  # TOML has no None
        ("Union[int, str, None]", STRICT_INT | STRICT_STR | None),
        ("int | Unknown", STRICT_INT),
        ("Unknown | None", Any),
        ("Unknown", Any),
        ("Any", Any),
        ("list[int]", list[STRICT_INT]),
        ("tuple[int, ...]", tuple[STRICT_INT, ...]),
        ("dict[str, Any]", dict[STRICT_STR, Any]),
        ("list[Unknown]", Any),
        ("Literal['a', -1, True]", Literal["a", -1, True]),
        ("Literal[Color.RED]", Any),
        ("Literal[FIRST, 'b']", Literal["a", "b"]),
        ("Annotated[float, Field(le=math.sqrt(2))]", Any),
        ("Annotated[float, Field(le=1 / 0)]", Any),
        ("fields.Positive", fields.Positive),
        ("Positive | Literal['full']", fields.Positive | Literal["full"]),
        ("Size", fields.Positive),
        ("Either", STRICT_INT | STRICT_STR),
        ("Json", Any),
        ("typing.NoSuchThing", Any),
        ("Callable[[int], str]", Any),
        ("int[", Any),
        ("nn.Module", fields.ModelReference()),
        ("nn.Module | None", fields.ModelReference()),
        ("list[nn.Module]", fields.ModelReference(many=True)),
        ("tuple[nn.Module, int]", Any),
        ("nn.Linear | None", fields.ModelReference()),
        ("Sequence[Encoder]", fields.ModelReference(many=True)),
        ("Color", Any),
        ("Annotated[int, Gt(0)]", Any),
        ("OptimizerTable", fields.OptimizerTable),
        ("1 + 1", Any),
    ],
)
def test_an_annotation_is_understood_or_accepts_any_value(read, annotation, kind):
    quoted = annotation if annotation != "int[" else "'int['"
    signature = read(f"""
import enum, math, typing
from annotated_types import Gt
from pydantic import Field
from collections.abc import Sequence
from typing import Annotated, Any, Callable, Literal, Optional, Union
from dlpipe import fields
from dlpipe.fields import OptimizerTable, Positive
from torch import nn
Size = Positive
FIRST = "a"
LARGEST = 60
Either = int | str
Json = dict[str, "Json"] | int
class Encoder(nn.Sequential): ...
class Color(enum.Enum): ...
def X(a: {quoted}): ...
""")

    assert kinds(signature) == {"a": kind}
    found = "" if kind is not Any or annotation == "Any" else f"annotates a with {quoted}, which is not understood"
    assert signature.parameters["a"].unchecked == found


@pytest.mark.parametrize("bounds", ["gt=2, lt=5", "gt=2, lt=LARGEST", "gt=2, lt=2 * LARGEST - 5"])
def test_bounds_are_read_from_annotated(read, bounds):
    code = f"""
from typing import Annotated
from pydantic import Field
LARGEST = 5
def X(a: Annotated[int, Field({bounds})]): ..."""

    kind = kinds(read(code))["a"]

    assert fields.describe(kind) == fields.describe(Annotated[int, fields.Field(gt=2, lt=5)])
    assert get_args(kind)[0] is int


@pytest.mark.parametrize(
    ("source", "default"),
    [
        ("3", 3),
        ("-1e-3", -1e-3),
        ("None", None),
        ("(1, 'a')", (1, "a")),
        ("{'use': 'adam'}", {"use": "adam"}),
        ("float('inf')", float("inf")),
        ("1.0 / 3", 1 / 3),
        ("CONSTANT", Computed("CONSTANT")),
    ],
)
def test_a_default_is_a_plain_value_or_left_to_the_component(read, source, default):
    assert defaults(read(f"def X(a={source}): ..."))["a"] == default


def test_inherited_parameters_are_understood_in_the_module_of_their_class(read):
    base = (
        "from dlpipe.fields import Positive\nSIZE = 3\nclass Base:\n    def __init__(self, size: Positive = SIZE): ..."
    )

    signature = read("from sized_base import Base\nclass X(Base): pass", sized_base=base)

    assert kinds(signature) == {"size": fields.Positive}
    assert defaults(signature) == {"size": 3}


@pytest.mark.parametrize(
    ("annotation", "choice"),
    [("OptimizerTable", "optimizer"), ("ScheduleTable", "schedule"), ("ScheduleTable | None", "schedule"), ("int", "")],
)
def test_a_table_that_selects_by_name_says_from_which_list(read, annotation, choice):
    code = f"from dlpipe.fields import OptimizerTable, ScheduleTable\ndef X(a: {annotation}): ..."

    assert read(code).parameters["a"].choice == choice


def test_required_is_readable_in_messages():
    assert repr(REQUIRED) == "REQUIRED"
