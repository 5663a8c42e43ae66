"""How the kernel parses its command line, and which parameters only the harness may set."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.errors import SpecError
from harness.spec.boot_parameters import BootParameter, name_of, split_command_line, why_reserved
from harness.spec.document import Document, parse_document


class _One(Document):
    word: BootParameter


@pytest.mark.parametrize(
    "word",
    [
        *("rdinit=/init", "init=/bin/sh", "panic=0", "vmapbench.lease=999999", "initrd=x"),
        *("sysctl.kernel.panic=0", "sysctl.kernel/panic=0", "noinitrd", "--"),
        *('"rdinit=/a b"', 'rdinit="/a b"', '"panic"=0', "sysctl/kernel/panic=0"),
        *("systemd.unit=rescue.target", "systemd.mask=ssh.service", "rd.break", "-b", "single"),
        *("1", "LD_PRELOAD=/tmp/x.so"),
    ],
)
def test_what_the_harness_needs_is_refused(word):
    assert why_reserved(word)


@pytest.mark.parametrize(
    "word",
    [
        *("vmap_nodes=1", "rcu_nocbs=1-N", "isolcpus=managed_irq,domain,1-N", "nosmt", "quiet"),
        *("panic_on_warn=1", "init_on_alloc=1", "reboot=pci", "initcall_debug", "root=/dev/sdz1"),
    ],
)
def test_others_are_free(word):
    assert why_reserved(word) is None
    assert _One(word=word).word == word


@pytest.mark.parametrize("word", ["nosmt\n", "a b", 'a="b c"', "a=b\npanic=0"])
def test_one_word_is_one_word(word):
    with pytest.raises(ValidationError):
        _One(word=word)


def test_the_message_names_line_word_and_reason():
    with pytest.raises(SpecError, match=r"1: word: .*panic=0 may not be set: a crash must restart"):
        parse_document("word: panic=0", _One)


def test_words_are_the_kernels():
    line = 'root=/dev/sda1 dyndbg="file a.c +p" "rdinit=/a b" quiet -- single panic=0'
    words = split_command_line(line)
    assert words == ["root=/dev/sda1", 'dyndbg="file a.c +p"', '"rdinit=/a b"', "quiet"]
    assert [name_of(word) for word in words] == ["root", "dyndbg", "rdinit", "quiet"]


@given(st.text(alphabet='ab-_="\n \t.', max_size=40))
def test_no_command_line_upsets_it(line):
    words = split_command_line(line)
    assert split_command_line(" ".join(words)) == words
