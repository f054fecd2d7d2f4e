"""ASCII-only output: no error, aligned columns, valid JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracer.render import plain
from tracer.render.json_text import json_text
from tracer.render.text import escape_untrusted, one_line


@pytest.fixture(autouse=True, scope="module")
def registered():
    plain.register()


def ascii_of(text):
    return text.encode("ascii", plain.PLAIN).decode()


def test_signs_of_ours_keep_their_width():
    assert ascii_of("a…b ● ─ └─ → │") == "a~b * - `- > |"


@given(st.text())
def test_any_text_can_be_written_and_json_stays_json(text):
    assert ascii_of(text).isascii()
    document = json.dumps({"name": text}, ensure_ascii=False)
    found = json.loads(ascii_of(document))["name"]
    assert found == "".join(plain._REPLACED.get(one, one) for one in text)


def test_which_locales_ask_for_ascii():
    assert plain.wants_ascii("C", None, "de_DE.UTF-8")
    assert plain.wants_ascii(None, "POSIX", None)
    assert plain.wants_ascii(None, None, "C")
    assert not plain.wants_ascii(None, None, None), "kubectl exec sets no locale"
    assert not plain.wants_ascii("C.UTF-8", "C", "C")


@given(st.text(st.characters(max_codepoint=0xFF)))
def test_controls_never_reach_a_terminal(text):
    for safe in (escape_untrusted(text), one_line(text), json_text({"a": text})):
        assert not any(ord(one) < 0x20 and one != "\n" for one in safe)
        assert not any(0x7F <= ord(one) <= 0x9F for one in safe)
    assert "\n" not in one_line(text)
    assert json.loads(json_text({"a": text})) == {"a": text}
