import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.build.allowed import refusal
from harness.spec.nightly import SAFE_PATHS

PLAIN, EXECUTABLE = False, True


@pytest.mark.parametrize(
    "name",
    [
        *("mm/vmalloc.c", "mm/kasan/shadow.c", "lib/test_vmalloc.c", "include/linux/mm_types.h"),
        *("Documentation/mm/vmalloc.rst", "Documentation/admin-guide/kernel-parameters.txt"),
    ],
)
def test_the_kernels_own_code_and_words_may_change(name):
    assert refusal(name, PLAIN, SAFE_PATHS) == ""


@pytest.mark.parametrize(
    "name",
    [
        *("Documentation/Kconfig", "mm/Kconfig", "mm/Makefile", "mm/kasan/Makefile", "Kbuild"),
        *("Documentation/conf.py", "Documentation/x.sh", "scripts/x.c", "mm/x.S", "lib/x.c"),
        *("include/linux/mm/evil.h", "mm/vmalloc.c/Makefile", "tools/mm/x.c", "mm/a.mk"),
    ],
)
def test_nothing_else_may(name):
    assert refusal(name, PLAIN, SAFE_PATHS)


@pytest.mark.parametrize(
    "name", ["Kconfig", "kconfig", "Kconfig.debug", "KBUILD", "GNUmakefile", "Makefile.lib", "a.PY"]
)
@pytest.mark.parametrize("folder", ["", "mm/", "Documentation/a/b/"])
def test_no_wildcard_allows_what_a_build_runs(folder, name):
    assert refusal(folder + name, PLAIN, ("**", "**/*", "mm/*")) == "a build may run it"
    assert refusal(folder + name, PLAIN, (folder + name,)) == ""


@pytest.mark.parametrize("name", ["mm/a\nb/Makefile", "mm/Makefile2", "mm/Kconfig2"])
def test_no_name_hides_what_a_build_runs(name):
    assert refusal(name, PLAIN, ("mm/**",)) == "a build may run it"


def test_what_is_named_in_full_is_not_what_is_named_like_a_pattern():
    assert refusal("mm/**/*.c", EXECUTABLE, SAFE_PATHS) == "it is executable"
    assert refusal("mm/*.sh", PLAIN, ("mm/*.sh",)) == "a build may run it"
    assert refusal("lib/test_vmalloc.c", EXECUTABLE, SAFE_PATHS) == "it is executable"


def test_an_executable_file_is_refused():
    assert refusal("mm/x.c", EXECUTABLE, ("mm/*.c",)) == "it is executable"


parts = st.lists(
    st.text(st.characters(codec="ascii", exclude_characters="/*?"), min_size=1), min_size=1
)


@given(parts)
def test_a_star_stops_at_a_slash_and_two_do_not(names):
    name = "/".join(["mm", *names]) + ".c"
    assert (refusal(name, PLAIN, ("mm/*.c",)) == "") == (len(names) == 1)
    assert refusal(name, PLAIN, ("mm/**/*.c",)) == ""
    assert refusal(name + "\n", PLAIN, ("mm/**/*.c",)) != ""
