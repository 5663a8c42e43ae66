import pytest

from harness.build.features import allocator_features
from harness.errors import InputError

HEAD = "static void\ndecay_va_pool_node(struct vmap_node *vn, bool full_decay)\n{\n"
RELEASE = "\t\t\tlist_del_init(&va->list);\n\t\t\tmerge_or_add_vmap_area(va, &root, &list);\n"
FORMS = {  # the loops of 6.12 and of 7.3, shortened
    "all": RELEASE
    + "\t\t\tif (!full_decay) {\n\t\t\t\tif (!--n_decay)\n\t\t\t\t\tbreak;\n\t\t\t}\n",
    "none": "\t\t\tif (!n_decay--)\n\t\t\t\tbreak;\n\n" + RELEASE,
    "unknown": "\t\t\tif (budget(n_decay))\n\t\t\t\tbreak;\n" + RELEASE,
}


@pytest.mark.parametrize("loses", FORMS)
def test_the_form_of_the_decay_is_told_from_the_source(tmp_path, loses):
    (tmp_path / "mm").mkdir()
    source = f"{HEAD}{FORMS[loses]}}}\n\nvoid other(void)\n{{\n\tif (!--n_decay)\n\t\treturn;\n}}\n"
    (tmp_path / "mm/vmalloc.c").write_text(source)
    assert allocator_features(tmp_path)["small_pools"] == loses


@pytest.mark.parametrize(
    ("code", "decay"),
    [
        ("n_decay = vn->pool[i].len >> 2;", "quarter"),  # 6.12
        ("n_decay >>= 2;", "quarter"),  # 7.3
        ("n_decay = vn->pool[i].len >> 1;", "unknown"),
        ("n_decay >>= 1;", "unknown"),
        ("n_decay = decay_share(vn) >> 20;", "unknown"),
    ],
)
def test_a_decay_of_another_share_is_unknown(tmp_path, code, decay):
    (tmp_path / "mm").mkdir()
    (tmp_path / "mm/vmalloc.c").write_text(f"{HEAD}\t\t{code}\n{FORMS['all']}}}\n")
    assert allocator_features(tmp_path) == {"small_pools": "all", "decay": decay}


def test_a_kernel_without_pools_has_no_decay(tmp_path):
    (tmp_path / "mm").mkdir()
    (tmp_path / "mm/vmalloc.c").write_text("int vmalloc;\n")
    assert allocator_features(tmp_path) == {}


def test_what_is_no_kernel_source_is_said_to_be_none(tmp_path):
    with pytest.raises(InputError, match=r"mm/vmalloc\.c: No such file .* source of a kernel"):
        allocator_features(tmp_path)
