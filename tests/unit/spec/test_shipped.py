"""Names: the user's own file first, then what comes with vmapbench."""

from pathlib import Path

import pytest

from harness.errors import InputError
from harness.spec.kernel import load_kernel_spec
from harness.spec.playbook import load_playbook
from harness.spec.shipped import shipped_folder

BASE = "fragments/base.config"
PATCH = "patches/vmap-nodes-limit"  # a folder of forms


def test_a_kernel_and_what_it_names_are_found_without_files_of_ones_own(tmp_path):
    spec = load_kernel_spec("single-node", tmp_path / "kernels")
    assert spec.place(BASE) == shipped_folder() / "kernels" / BASE
    [form, *_] = sorted(spec.place(PATCH).iterdir())
    assert spec.name_of(form) == f"{PATCH}/{form.name}"


def test_the_users_files_come_before_the_shipped(tmp_path):
    (tmp_path / "fragments").mkdir()
    (tmp_path / BASE).write_text("CONFIG_A=y\n")
    text = "version: 1\nsource: {tree: .}\nsummary: mine\n"
    (tmp_path / "single-node.yaml").write_text(text + f"fragments: [{BASE}]\npatches: [{PATCH}]\n")
    spec = load_kernel_spec("single-node", tmp_path)
    assert spec.summary == "mine"
    assert spec.place(BASE) == tmp_path / BASE
    assert spec.place(PATCH) == shipped_folder() / "kernels" / PATCH
    assert [spec.name_of(spec.place(name)) for name in (BASE, PATCH)] == [BASE, PATCH]


@pytest.mark.parametrize("word", ["smoke", "playbooks/smoke.yaml"])
def test_a_playbook_is_found_by_name(tmp_path, monkeypatch, word):
    monkeypatch.chdir(tmp_path)
    shipped = load_playbook(Path(word))
    assert shipped.name == "smoke"
    (tmp_path / "playbooks").mkdir()
    own = tmp_path / "playbooks" / "smoke.yaml"
    own.write_text(shipped.text.replace("repeats: 3", "repeats: 7"))
    assert load_playbook(Path(word)).repeats == 7
    (tmp_path / "smoke").mkdir()  # a folder of the name is no playbook
    assert load_playbook(Path(word)).repeats == 7


def test_unknown_names_are_answered_with_the_known(tmp_path):
    with pytest.raises(InputError, match="no kernel nought: .*single-node"):
        load_kernel_spec("nought", tmp_path)
    with pytest.raises(InputError, match="no playbook nought: .*smoke"):
        load_playbook(Path("nought"))


def test_fallbacks_of_shipped_playbooks_exist():
    for file in sorted((shipped_folder() / "playbooks").glob("*.yaml")):
        fallback = load_playbook(file).fallback
        assert fallback is None or file.with_name(f"{fallback}.yaml").is_file()
