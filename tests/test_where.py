"""``--where`` says yes or no about a row, and can do nothing else."""

from __future__ import annotations

import string
import sys
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedance_batch.errors import UsageError
from seedance_batch.where import DEEPEST, LONGEST, Type, Value, as_name, compile_where

NAMES = {
    "client": Type.TEXT,
    "Scene no.": Type.TEXT,
    "Größe (cm)": Type.TEXT,
    "class": Type.TEXT,
    "Größe": Type.TEXT,
    "prompt": Type.TEXT,
    "status": Type.TEXT,
    "error_class": Type.TEXT,
    "duration": Type.NUMBER,
    "seed": Type.NUMBER,
    "generate_audio": Type.TRUTH,
    "web_search": Type.TRUTH,
}
ROW: Mapping[str, Value] = {
    "client": "Acme",
    "Scene no.": "4",
    "Größe (cm)": "[Scene no.]",
    "class": "b",
    "Größe": "XL",
    "prompt": "a cat on a mat",
    "status": "failed",
    "error_class": None,
    "duration": 10,
    "seed": None,
    "generate_audio": True,
    "web_search": None,
}


def holds(text: str) -> bool:
    return compile_where(text, NAMES)(ROW.__getitem__)


@pytest.mark.parametrize(
    "text",
    [
        "client == 'Acme'",
        "client == 'Acme' and duration > 8",
        "client != 'Bo' or duration > 99",
        "not client == 'Bo'",
        "client in ('Acme', 'Bo')",
        "client not in ['Bo']",
        "duration in {5, 10}",
        "'cat' in prompt",
        "'dog' not in prompt",
        "4 < duration <= 10",
        "duration == 10.0",
        "duration > -1",
        "-1.5 < duration",
        "client >= 'Ab'",
        "client < prompt",
        "seed == None",
        "seed != 7",
        "error_class == None",
        "error_class != 'transient'",
        "'x' not in error_class",
        "generate_audio",
        "generate_audio == True",
        "not web_search",
        "web_search == None",
        "True",
        "not False",
        "(status == 'failed' or status == 'new') and not (duration < 5)",
        "  client == 'Acme'  ",
        "Größe == 'XL'",
        'client == "Acme"',
        r"client != '\d'",
        "[Scene no.] == '4'",
        " [ Scene no. ] in ('3', '4') and [client] == 'Acme'",
        "[Größe (cm)] == '[Scene no.]' and [class] == 'b'",
        "'4' in [Scene no.] and client in ['Bo', client]",
        "duration in [5, 10] and client in [client]",
    ],
)
def test_conditions_that_hold(text: str) -> None:
    assert holds(text) is True


@pytest.mark.parametrize(
    "text",
    [
        "client == 'acme'",
        "duration > 10",
        "duration < 5 or client == 'Bo'",
        "seed > 3",
        "seed < 3",
        "3 < seed",
        "error_class > 'a'",
        "web_search",
        "generate_audio == False",
        "None == client",
    ],
)
def test_conditions_that_do_not(text: str) -> None:
    assert holds(text) is False


def test_a_missing_value_is_neither_above_nor_below() -> None:
    assert not holds("seed > 3 or seed <= 3")


# ── what is refused, and where ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cleint == 'a'", "character 1: there is no column cleint; did you mean client?"),
        ("   cleint == 'a'", "character 4: there is no column cleint"),
        ("client == 'a' and xyzzy == 1", "character 19: there is no column xyzzy"),
        ("generate_audio == true", "character 19: there is no column true; did you mean True?"),
        ("'ä' == client and dration > 1", "character 19: there is no column dration; did you"),
        ("duration == '5'", "character 1: duration is a number, and cannot be compared with text"),
        ("client > 5", "character 1: client is text, and cannot be compared with a number"),
        ("duration in (5, 'a')", "character 1: duration is a number, and cannot be compared"),
        ("duration == True", "is a number, and cannot be compared with true or false"),
        ("generate_audio > False", "is true or false, which has no order"),
        ("client > None", "character 1: client is text, and cannot be compared with nothing"),
        ("'5' in duration", "character 8: duration follows “in”, which looks in text"),
        ("5 in client", "character 6: client follows “in”"),
        ("seed is None", "character 9: None follows “is”, which is not known here; write =="),
        ("client", "character 1: client is no comparison"),
        ("'text'", "is no comparison"),
        ("", "invalid syntax"),
        ("duration <", "invalid syntax"),
        ("client = 'a'", "character 8: = compares nothing, use =="),
        ("[Scene nr.] == '4'", "character 1: there is no column Scene nr.; did you mean [Scene no"),
        ("client == 'a' and [Größe (cm)] > 4", "character 19: [Größe (cm)] is text, and cannot be"),
        ("[Größe (cm)] == '' and xyzzy", "character 24: there is no column xyzzy"),
        ("not ([Scene no.])", "character 6: [Scene no.] is no comparison"),
        ("[client, 4] == 'a'", "there is no column client, 4"),
        ("[Scene no. == '4'", "character 2: invalid syntax"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        compile_where(text, NAMES)
    assert message in refused.value.message
    assert refused.value.hint


def test_a_single_equals_sign_gets_the_condition_that_was_meant() -> None:
    with pytest.raises(UsageError) as refused:
        compile_where("[Scene no.] = 'a=b' and duration = 4", NAMES)
    assert refused.value.hint == """--where "[Scene no.] == 'a=b' and duration == 4\""""
    with pytest.raises(UsageError) as refused:
        compile_where('client = "$5"', NAMES)
    assert refused.value.hint == """--where 'client == "$5"'"""


HOSTILE = [
    "__import__('os').system('touch pwned')",
    "open('pwned', 'w').write('x')",
    "open('pwned', 'w') == 1",
    "exec('import os')",
    "eval('1') == 1",
    "compile('1', '', 'eval') == 1",
    "().__class__.__bases__[0].__subclasses__() == 1",
    "client.__class__ == 1",
    "client.upper() == 'ACME'",
    "client[0] == 'A'",
    "client['x'] == 1",
    "[c for c in client] == 1",
    "{c: 1 for c in client} == 1",
    "(c for c in client) == 1",
    "(lambda: 1)() == 1",
    "(lambda: client) == 1",
    "(x := 1) == 1",
    "f'{client}' == 'Acme'",
    "f'{open(chr(47))}' == ''",
    "9**9**9**9 > 1",
    "'a' * 10**10 == 'a'",
    "duration + 1 > 2",
    "duration % 2 == 0",
    "~duration == 1",
    "-client == 1",
    "--1 < duration",
    "1 if client else 2",
    "await client",
    "(yield client)",
    "*client, == 1",
    "print('x') or True",
    "__builtins__ == 1",
    "globals() == 1",
    "b'Acme' == client",
    "... == client",
    "1j == duration",
    "{'a': 1} == client",
    "{**client} == 1",
    "client == ('Acme')()",
    "client in (open('pwned', 'w'),)",
    "client in [*client]",
    "import os",
    "client; import os",
    "client == 'a'\nimport os",
    "del client",
    "\0",
    "client == '\ud800\0'",
    "(" * 300 + "1" + ")" * 300,
    "not " * (DEEPEST + 1) + "True",
    "not " * 240 + "True",
    "-" * 990 + "1 < duration",
    "client == '" + "a" * LONGEST + "'",
    "duration > " + "9" * LONGEST,
]


DEEDS = {"exec", "open", "import", "os.system", "os.exec", "subprocess.Popen", "socket.connect"}


@pytest.fixture(scope="module")
def deeds() -> Iterator[list[str]]:
    """What the interpreter does that a condition must never lead to, while a test listens."""
    seen: list[str] = []
    listening = True

    def hear(event: str, _: object) -> None:
        if listening and event in DEEDS:
            seen.append(event)

    sys.addaudithook(hear)
    yield seen
    listening = False


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_expressions_are_refused_and_nothing_is_done(text: str, deeds: list[str]) -> None:
    deeds.clear()
    refused = None
    try:
        compile_where(text, NAMES)
    except UsageError as error:
        refused = error
    assert (deeds, refused is None) == ([], False)


def test_an_expression_may_be_as_deep_as_the_limit() -> None:
    assert compile_where("not " * DEEPEST + "True", NAMES)(ROW.__getitem__) is True


@given(st.text(alphabet=string.printable, max_size=60) | st.text(max_size=30))
def test_any_text_is_a_condition_or_refused(text: str) -> None:
    try:
        condition = compile_where(text, NAMES)
    except UsageError:
        return
    assert condition(ROW.__getitem__) in (True, False)


@given(
    st.recursive(
        st.sampled_from(["client == 'a'", "duration > 3", "generate_audio", "seed in (1, 2)"]),
        lambda inner: st.one_of(
            st.builds("({} and {})".format, inner, inner),
            st.builds("({} or {})".format, inner, inner),
            st.builds("not {}".format, inner),
        ),
        max_leaves=8,
    ),
    st.fixed_dictionaries(
        {
            "client": st.sampled_from(["a", "b"]),
            "duration": st.integers(1, 5),
            "generate_audio": st.booleans(),
            "seed": st.integers(0, 3),
        }
    ),
)
def test_conditions_mean_what_python_means(text: str, row: dict[str, Value]) -> None:
    expected = eval(text, {"__builtins__": {}}, row)  # noqa: S307 - texts made above
    assert compile_where(text, NAMES)(row.__getitem__) is bool(expected)


@pytest.mark.parametrize(
    ("heading", "name"),
    [
        ("client", "client"),
        (" Client name ", "Client_name"),
        ("2nd take", "_2nd_take"),
        ("cost ($)", "cost____"),
        ("客户", "客户"),
        ("ﬁlm", "film"),
        ("", "_"),
    ],
)
def test_every_column_has_a_name(heading: str, name: str) -> None:
    assert as_name(heading) == name
