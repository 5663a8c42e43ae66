"""What others wrote, made fit for where it goes."""

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.text import escaped, escaped_line, one_line, storable, visible

_ANY = st.text(st.characters())  # surrogates and noncharacters too
_HOSTILE = st.lists(st.sampled_from(["\x1b]0;", "\x1b[2J", "\x07", "\x1b\\", "\x9b", "a", "\n"]))

_ACTS = {
    "title": "\x1b]0;owned\x07",
    "title, ended by ST": "\x1b]0;owned\x1b\\",
    "title, never ended": "\x1b]0;owned",
    "clipboard": "\x1b]52;c;cm0gLXJm\x07",
    "clear screen": "\x1b[2J",
    "private mode": "\x1b[?1049h",
    "private prefix": "\x1b[>4;2m",
    "device control": "\x1bP+q544e\x1b\\",
    "8 bit CSI": "\x9b2J",
    "reset": "\x1bc",
    "carriage return": "\rgood",
    "backspace": "\b\b\bgood",
    "direction override": "\u202egood",
    "isolate": "\u2067good",
    "line separator": "a\u2028b",
    "zero width": "go\u200bod",
    "tag": "\U000e0041",
    "lone surrogate": "\udc80",
    "noncharacter": "\ufffe",
}


@pytest.mark.parametrize("text", _ACTS.values(), ids=_ACTS)
@pytest.mark.parametrize("clean", [visible, one_line, escaped, escaped_line])
def test_nothing_acts_any_more(clean, text):
    done = clean(text)
    assert done != text
    assert not any(c in done for c in "\x1b\x07\x9b\r\b\u202e\u2067\u2028\u200b\U000e0041\ufffe")
    done.encode()  # no lone surrogate


@pytest.mark.parametrize("clean", [visible, one_line, escaped, escaped_line, storable])
@given(text=_ANY | _HOSTILE.map("".join))
def test_clean_text_stays_as_it_is_and_fits_utf_8(clean, text):
    done = clean(text)
    assert clean(done) == done
    done.encode()


@given(_ANY)
def test_escaped_text_fits_xml(text):
    element = ET.Element("reason")
    element.text = escaped(text)
    ET.fromstring(ET.tostring(element))


@given(_ANY | _HOSTILE.map("".join))
def test_lines_stay_lines_and_one_line_is_one(text):
    assert len(one_line(text).splitlines()) <= 1
    assert len(escaped_line(text).splitlines()) <= 1
    assert len(one_line(text, 20)) <= 20


def test_ordinary_text_is_left_alone():
    text = "µs\N{NO-BREAK SPACE}3 %\n\tvmalloc: größer, 中文, \N{GRINNING FACE}, w[nr_threads=4]"
    assert visible(text) == escaped(text) == text


def test_programs_can_read_back_what_was_there():
    assert escaped_line("a\n\x1b[0mb") == "a\\n\\x1b[0mb"
    assert escaped("a\n\x1b[0mb") == "a\n\\x1b[0mb"
